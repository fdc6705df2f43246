"""Writing result files so that a reader never meets half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from vitad_med.errors import StorageError


def write_text(path: str | Path, text: str) -> None:
    """Replace a file by UTF-8 text, never leaving half of it behind."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace a file, through a temporary name in the same folder, never leaving half of it behind.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    target = Path(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(
            f"{target} cannot be written ({error.strerror or error}); free space or choose another output_dir."
        ) from error
