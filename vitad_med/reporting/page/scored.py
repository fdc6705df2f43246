"""The page of a folder that was scored: what became of every file, and the worklist with its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitad_med.reporting.page.charts.canvas import Styles
from vitad_med.reporting.page.records import Row, Thumbnail
from vitad_med.reporting.page.shell import fill
from vitad_med.reporting.page.tables import Table, drift_table
from vitad_med.reporting.page.worklist import STATIC_ROWS, script_json, static_rows, worklist_data

Facts = Sequence[tuple[str, str]]

_OF_TRUTH = frozenset({"label", "findings", "localized", "pixel_auroc", "pointing_hit"})
"""Columns that need a truth, which a folder that is scored has not."""


@dataclass(frozen=True)
class ScoredFolder:
    """What the page tells.

    Attributes:
        title: of the page.
        head: (term, text) pairs for its head.
        short: one sentence that sums up.
        sentences: what else whoever reads the scores must know.
        files: counts of files by what became of them.
        drift: comparison with the calibration, as in ``report.json``; None without one.
        methods: (term, text) pairs at the end.
        notes: plain sentences before them.
    """

    title: str
    head: Facts
    short: str
    sentences: Sequence[str]
    files: Table
    drift: Mapping[str, Any] | None
    methods: Facts
    notes: Sequence[str] = ()


def render_scored(folder: ScoredFolder, rows: Sequence[Row], thumbnails: Sequence[Thumbnail]) -> str:
    """The whole page as text; the same input gives the same bytes.

    Args:
        folder: what it tells.
        rows: scored images in the order in which they are first shown.
        thumbnails: pictures of some rows.
    """
    worklist = worklist_data(rows, thumbnails)
    worklist["columns"] = [column for column in worklist["columns"] if column["key"] not in _OF_TRUTH]
    context = {
        "title": folder.title,
        "header": folder.head,
        "short": folder.short,
        "sentences": folder.sentences,
        "files": folder.files,
        "drift": folder.drift,
        "drift_table": None if folder.drift is None else drift_table(folder.drift),
        "method_facts": folder.methods,
        "notes": folder.notes,
        "burned_in_text": bool(thumbnails),
        "worklist": worklist,
        "worklist_json": script_json(worklist),
        "static_rows": static_rows(worklist),
        "static_count": STATIC_ROWS,
    }
    return fill("scored.html", context, Styles(), in_files=False)
