"""One runner a folder: a lock that ends with the process, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from vitad_med.errors import ConfigError, StorageError

NAME = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a results folder.

    The kernel's lock on an open file is used, not the file's existence: it is gone as soon as the process is, after
    SIGKILL too. The file itself stays and means nothing.

    Raises:
        ConfigError: another process holds it.
        StorageError: the folder cannot be made.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot write '{path}': {error.strerror}; choose another --out.") from error
    # A data loader's worker is a fork: it would keep the lock for as long as it outlives a killed runner.
    closed_in_workers[0] = descriptor
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(descriptor, 100).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"another run (process {owner}) works in '{folder}': wait for it, end it, or choose another --out."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        closed_in_workers[0] = None
        os.close(descriptor)


closed_in_workers: list[int | None] = [None]


def _close_in_worker() -> None:
    if closed_in_workers[0] is not None:
        os.close(closed_in_workers[0])


os.register_at_fork(after_in_child=_close_in_worker)
