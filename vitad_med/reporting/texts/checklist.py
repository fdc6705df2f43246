"""``reporting_checklist.md``: which items of TRIPOD+AI and CLAIM a report answers, with the answers filled in.

Collins et al., BMJ 2024;385:e078378 (TRIPOD+AI); Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300
(CLAIM, 2024 update). The items are data files in ``templates/``.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from vitad_med.evaluation.files import write_text
from vitad_med.reporting.document.types import Report
from vitad_med.reporting.document.wording import NOTHING
from vitad_med.reporting.texts.checklist_answers import ANSWERS
from vitad_med.reporting.texts.markdown import render

LISTS = ("tripod_ai_2024", "claim_2024")
ANSWERED = "answered"
PART = "in part"
PEOPLE = "for the authors"


def reporting_checklist(report: Report, metadata: dict[str, Any] | None = None) -> str:
    """Both checklists as Markdown.

    Args:
        report: a checked report.
        metadata: the bundle's metadata, or None.

    Returns:
        The text; the same arguments give the same text.
    """
    lists = []
    for name in LISTS:
        items = read_items(name)
        rows = [_row(item, report, metadata or {}) for item in items["item"]]
        lists.append(
            {
                "name": items["name"],
                "source": items["source"],
                "size": items["items"],
                "rows": rows,
                "answered": sum(row["status"] == ANSWERED for row in rows),
                "part": sum(row["status"] == PART for row in rows),
                "people": sum(row["status"] == PEOPLE for row in rows),
            }
        )
    return render("reporting_checklist.md.j2", report=report, lists=lists)


def write_checklist(path: str | Path, report: Report, metadata: dict[str, Any] | None = None) -> None:
    """Write both checklists.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, reporting_checklist(report, metadata))


@cache
def read_items(name: str) -> dict[str, Any]:
    """One checklist: its name, source, number of items and the items, each with number, section and text."""
    path = files("vitad_med.reporting.texts") / "templates" / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _row(item: dict[str, Any], report: Report, metadata: dict[str, Any]) -> dict[str, str]:
    row = {key: item[key] for key in ("number", "section", "text")}
    if "fills" in item:
        keys, answer = ANSWERS[item["fills"]]
        text = answer(report, metadata)
        if text is not None:
            return row | {"status": ANSWERED if item.get("complete") else PART, "answer": text, "where": keys}
    return row | {"status": PEOPLE, "answer": NOTHING, "where": NOTHING}
