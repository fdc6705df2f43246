"""Writing result files so that a reader never meets half of one."""

from __future__ import annotations

from pathlib import Path

from vitad_med.checkpoint import atomic_path


def write_text(path: str | Path, text: str) -> None:
    """Replace a file by UTF-8 text; see :func:`vitad_med.checkpoint.atomic_path` for its errors."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace a file, never leaving half of it behind."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(content)
