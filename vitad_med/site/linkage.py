"""From a hashed name back to the identifiers of the site: a table beside the key, that leaves the site as little."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vitad_med.errors import DataError, StorageError
from vitad_med.site.folder import check_private, make_private_folder, site_folder
from vitad_med.site.key import DIGITS, Domain

_CREATE = """\
create table if not exists links (
    name text not null,
    domain text not null,
    identifier text not null,
    key text not null,
    primary key (name, domain)
)"""


@dataclass(frozen=True, slots=True)
class Link:
    """One name and what it stands for.

    Attributes:
        name: hexadecimal digits.
        domain: patient, study, image or file.
        identifier: PatientID with its issuer, a UID, or a path below the folder that was scored.
        key: number of the key that gave the name.
    """

    name: str
    domain: Domain
    identifier: str
    key: str


def linkage_path(folder: Path | None = None) -> Path:
    """Where the table of the site lies."""
    return (folder or site_folder()) / "linkage.sqlite"


def add_links(links: Iterable[Link], path: Path | None = None) -> None:
    """Add what is not there; all of it or nothing, on disk when this returns.

    Several processes may do so at once.

    Raises:
        ConfigError: others can read the table.
        StorageError: it cannot be written.
    """
    path = path or linkage_path()
    make_private_folder(path.parent)
    if not path.exists():
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    with _opened(path) as table:
        table.execute(_CREATE)
        table.executemany(
            "insert or ignore into links values (?, ?, ?, ?)",
            ((link.name, link.domain, _printable(link.identifier), link.key) for link in links),
        )


def _printable(identifier: str) -> str:
    """Bytes of a file's name that are no UTF-8 as ``\\xfc``: sqlite stores text."""
    return identifier.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def look_up(name: str, path: Path | None = None) -> list[Link]:
    """What a name, or its first eight digits or more, stands for; empty where it is not known.

    Raises:
        ConfigError: others can read the table.
        DataError: the text is no name, or the table is missing or damaged.
    """
    wanted = name.strip().lower()
    if not 8 <= len(wanted) <= DIGITS or not set(wanted) <= set("0123456789abcdef"):
        raise DataError(f"'{name}' is no hashed name: give 8 to {DIGITS} hexadecimal digits of one")
    path = path or linkage_path()
    if not path.is_file():
        raise DataError(f"there is no linkage table at {path}: nothing was scored with the key of this folder")
    with _opened(path) as table:
        rows = table.execute(
            "select name, domain, identifier, key from links where substr(name, 1, ?) = ? order by name, domain",
            (len(wanted), wanted),
        ).fetchall()
    return [Link(*row) for row in rows]


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    check_private(path)
    table = sqlite3.connect(path, timeout=60)
    try:
        table.execute("pragma synchronous = full")
        with table:  # commits, or takes everything back
            yield table
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise StorageError(f"{path}: {error}") from error
        raise DataError(f"{path} is damaged ({error}): put its copy back") from error
    finally:
        table.close()
