"""Folders for the owner alone, and one process at a time in them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitad_med.durable import sync
from vitad_med.errors import ConfigError, StorageError


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, for the owner alone, and put their names on disk.

    Raises:
        StorageError: it cannot be made.
    """
    missing = []
    place = folder
    while not place.is_dir() and place != place.parent:
        missing.append(place)
        place = place.parent
    try:
        for part in reversed(missing):
            part.mkdir(mode=0o700, exist_ok=True)
            sync(part.parent)
    except OSError as error:
        raise StorageError(f"a folder cannot be made in {place}: {error.strerror}; choose another") from error


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs; the lock goes with the process, however that ends.

    Raises:
        ConfigError: another process holds it.
        StorageError: it cannot be written.
    """
    handle = _lock(path, what)
    try:
        yield
    finally:
        # While it is held: whoever opened it before finds out that it is not the file of this name any more.
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path, what: str) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise ConfigError(
                f"another `vitad-med {what}` is at work in {path.parent}: wait for it or stop it"
            ) from error
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            return handle
        os.close(handle)
