"""Files that survive a crash: written under a temporary name, on disk before they have their own.

Each step asks :func:`reach`, so that a test can end the process at any of them, inside fsync and rename too.
"""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

from vitad_med.errors import StorageError

TEMPORARY = ".partial"
FAULT = "VITAD_MED_FAULT"
"""Environment variable for tests: a file of steps still to be allowed; at the last one the process group is killed."""


def write_file(path: Path, content: bytes) -> None:
    """Replace a file, in a folder that is made when missing; :func:`replace_file` with an error for users.

    Raises:
        StorageError: the disk is full, read-only, or the folder is gone.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise storage_error(path, error) from error


def replace_file(path: Path, content: bytes, temporary: Path | None = None) -> None:
    """Replace a file; when this returns, it is on disk under its name, and before that its old content is.

    Args:
        path: where it goes; its folder exists.
        content: of the file.
        temporary: its name until then, on the same file system; None is a hidden one beside it.

    Raises:
        OSError: nothing is left behind, the former content is intact.
    """
    temporary = temporary or path.with_name(f".{path.name}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            half = len(content) // 2
            file.write(content[:half])
            reach("write")
            file.write(content[half:])
            file.flush()
            reach("fsync")
            os.fsync(file.fileno())
        reach("rename")
        temporary.replace(path)
        sync(path.parent)
        reach("renamed")
    except OSError:
        _forget(temporary)
        raise


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk; without it a rename may be lost when the machine goes down."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems cannot flush a folder; they do so on their own.
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
    finally:
        os.close(descriptor)


def append(path: Path, line: bytes) -> None:
    """Add a line to a file and wait until it is on disk.

    Raises:
        StorageError: as :func:`write_file`; a part of the line may be there, which :func:`complete_lines` leaves out.
    """
    try:
        with path.open("ab") as file:
            half = len(line) // 2
            file.write(line[:half])
            file.flush()
            reach("append")
            file.write(line[half:])
            file.flush()
            reach("append_fsync")
            os.fsync(file.fileno())
        reach("appended")
    except OSError as error:
        raise storage_error(path, error) from error


def complete_lines(path: Path) -> list[bytes]:
    """Lines that were written whole; what a crash left after them is cut off the file.

    Raises:
        StorageError: the file cannot be read or cut.
    """
    try:
        with path.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(path, error) from error
    return content[:whole].splitlines()


def sweep(folder: Path) -> None:
    """Take away what a killed run left half-written."""
    for leftover in folder.rglob(f".*{TEMPORARY}"):
        _forget(leftover)


def storage_error(path: Path, error: OSError) -> StorageError:
    """The sentence for a file of the result that cannot be written; the name of an image's file is a hashed one."""
    return StorageError(
        f"cannot write '{path.name}' in '{path.parent}': {error.strerror or error}; what was finished is kept: make "
        "room, or make the folder writable, and give the same command with --resume"
    )


def reach(_: str) -> None:
    """A step of writing. Does nothing, unless a test has counted out how many steps this run may take."""
    counter = os.environ.get(FAULT)
    if counter is None:
        return
    # One byte a step, in a file that all processes of the run share.
    with open(counter, "rb+", buffering=0) as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        left = os.fstat(file.fileno()).st_size - 1
        if left <= 0:
            os.killpg(os.getpgid(0), signal.SIGKILL)
        os.ftruncate(file.fileno(), left)


def _forget(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # a folder that became read-only: the next sweep takes it away
