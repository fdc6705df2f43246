"""Folders that `vitad-med score` wrote: their maps and thumbnails are pictures, and no radiographs."""

from __future__ import annotations

import json
from pathlib import Path

STATE, RECORD = "state", "run.json"
"""A run keeps its record in ``OUT/state/run.json``."""

SCHEMA_FAMILY = "vitad_med/score/"
"""How the schema of every version of the record begins."""

_DEPTH = 2
"""Folders between OUT and its deepest pictures, ``OUT/state/pictures``."""


def in_own_run(path: Path) -> bool:
    """Whether a file lies in the folder of a run, where that run writes pictures."""
    return any(_is_run(folder) for folder in path.absolute().parents[: _DEPTH + 1])


def _is_run(folder: Path) -> bool:
    try:
        content = json.loads((folder / STATE / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and str(content.get("schema", "")).startswith(SCHEMA_FAMILY)
