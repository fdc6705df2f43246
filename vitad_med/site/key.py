"""The site's secret key and the names that it gives: HMAC-SHA256, one domain for patients, studies and images each."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vitad_med.durable import sync
from vitad_med.errors import ConfigError, StorageError
from vitad_med.site.folder import check_private, make_private_folder, site_folder

Domain = Literal["patient", "study", "image", "file"]

BYTES = 32
"""Length of a key: 256 bits."""

DIGITS = 32
"""Hexadecimal digits of a name: 128 bits, so that no two of a hospital's patients share one."""

_HEADER = "vitad_med site key 1\n"


@dataclass(frozen=True)
class SiteKey:
    """A key; its text never appears in a representation or a message.

    Attributes:
        secret: 32 random bytes.
    """

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != BYTES:
            raise ConfigError(f"a site key has {BYTES} bytes, this one {len(self.secret)}")

    def __repr__(self) -> str:
        return f"SiteKey({self.id})"

    @property
    def id(self) -> str:
        """Eight digits that tell keys apart and say nothing of them."""
        return self._digest("id", "")[:8]

    def name(self, domain: Domain, identifier: str) -> str:
        """The name of a patient, study or image outside of the site.

        Args:
            domain: names of one identifier in two domains have nothing in common.
            identifier: PatientID with its issuer, or a UID.

        Returns:
            32 hexadecimal digits of HMAC-SHA256.
        """
        if domain not in get_args(Domain):
            raise ConfigError(f"domain '{domain}' is unknown: use {', '.join(get_args(Domain))}")
        return self._digest(domain, identifier)[:DIGITS]

    def _digest(self, domain: str, text: str) -> str:
        # No domain holds the separator, so no two pairs give one message. Names of files may be no UTF-8.
        return hmac.new(self.secret, f"{domain}\0{text}".encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def key_path(folder: Path | None = None) -> Path:
    """Where the key of the site lies."""
    return (folder or site_folder()) / "site.key"


def read_key(path: Path | None = None) -> SiteKey:
    """The key of the site.

    Args:
        path: of the key; None is :func:`key_path`.

    Raises:
        ConfigError: there is none, it is damaged, or others can read it.
    """
    path = path or key_path()
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no key at {path}: make one, once for the site, with `vitad-med key new`; to resume a run, put "
            "its key back"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key at {path} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from error
    check_private(path)
    body = text.removeprefix(_HEADER).strip()
    if not text.startswith(_HEADER) or len(body) != 2 * BYTES or not set(body) <= set("0123456789abcdef"):
        raise ConfigError(f"the key at {path} is damaged: put its copy back; a new key would give other names")
    return SiteKey(bytes.fromhex(body))


def new_key(path: Path | None = None) -> SiteKey:
    """Make the key of a site, which has none.

    Raises:
        ConfigError: there is one.
        StorageError: it cannot be written.
    """
    path = path or key_path()
    make_private_folder(path.parent)
    key = SiteKey(secrets.token_bytes(BYTES))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{_HEADER}{key.secret.hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # whole, or not at all where there is one
        sync(path.parent)  # results must not outlive the key that named them
    except FileExistsError as error:
        raise ConfigError(
            f"there is a key at {path}: names made with another would not be found again. `vitad-med key rotate` puts "
            "it aside and makes a new one"
        ) from error
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return key


def rotate_key(path: Path | None = None) -> tuple[SiteKey, Path]:
    """Put the key aside, under its number, and make a new one.

    Returns:
        the new key, and where the former one lies.

    Raises:
        ConfigError: there is none, or it cannot be read.
        StorageError: a file cannot be written.
    """
    path = path or key_path()
    former = path.with_name(f"site.{read_key(path).id}.key")
    try:
        path.rename(former)
    except OSError as error:
        raise StorageError(f"{path} cannot be put aside: {error.strerror}") from error
    try:
        return new_key(path), former
    except BaseException:
        former.rename(path)
        raise
