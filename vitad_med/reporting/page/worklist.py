"""The worklist as compact JSON inside the page, and its first rows as a table for readers without JavaScript."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from vitad_med.reporting.page.names import LABELS, axis_name
from vitad_med.reporting.page.numbers import NOTHING
from vitad_med.reporting.page.records import Row, Thumbnail

STATIC_ROWS = 50
_DIGITS, _SHOWN_DIGITS = 7, 4
_TOLD_APART = 0.95


def worklist_data(rows: Sequence[Row], thumbnails: Sequence[Thumbnail]) -> dict[str, Any]:
    """Columns of the worklist, column by column; words are numbered, so that a word is stored once.

    Returns:
        ``{"count", "columns": [{"key", "label", "kind", "filter", "words"?, "values"}], "thumbnails": [...]}``.
        ``kind`` is ``text``, ``number`` or ``word``; a number that is not known is null and numbers have ``decimals``.
    """
    columns = [
        _text("image", "Image", [row.image for row in rows]),
        _text("patient", "Patient", [row.patient for row in rows]),
        _words("label", "Label", [label_word(row) for row in rows]),
        _numbers("score", "Score", [row.score for row in rows]),
        _numbers("p_value", "p", [row.p_value for row in rows], decimals=4),
        _words("flagged", "Alarm", [flag_word(row) for row in rows]),
        _words("sex", "Sex", [row.sex for row in rows]),
        _words("view", "View", [row.view for row in rows]),
        _words("age_band", "Age", [row.age_band for row in rows]),
        _words("findings", "Findings", [", ".join(row.findings) for row in rows], filtered=False),
        *(
            _words(f"column-{number}", axis_name(axis), [row.columns[number][1] for row in rows])
            for number, (axis, _) in enumerate(rows[0].columns if rows else ())
        ),
        _words("localized", "Marked", ["yes" if row.localized else "no" for row in rows]),
        _numbers("pixel_auroc", "Pixel AUROC", [row.pixel_auroc for row in rows], decimals=3),
        _numbers("pointing_hit", "Hit", [row.pointing_hit for row in rows], decimals=2),
    ]
    return {
        "count": len(rows),
        "columns": [column for column in columns if not _empty(column)],
        "thumbnails": [_picture(thumbnail) for thumbnail in thumbnails],
    }


def script_json(data: Any) -> Markup:
    """JSON for a ``<script type="application/json">`` element: no text in it can close the element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def static_rows(data: dict[str, Any]) -> list[list[str]]:
    """Cells of the first rows as the page shows them."""
    shown = range(min(STATIC_ROWS, data["count"]))
    return [[_shown(column, number) for column in data["columns"]] for number in shown]


def label_word(row: Row) -> str:
    """``normal``, ``abnormal`` or ``unknown``."""
    return "unknown" if row.label is None else LABELS[row.label]


def flag_word(row: Row) -> str:
    """``alarm``, ``quiet``, or nothing without a threshold."""
    return "" if row.flagged is None else "alarm" if row.flagged else "quiet"


def _text(key: str, label: str, values: list[str]) -> dict[str, Any]:
    return {"key": key, "label": label, "kind": "text", "filter": False, "values": values}


def _numbers(key: str, label: str, values: Sequence[float | None], decimals: int | None = None) -> dict[str, Any]:
    """A column of numbers with the decimals that it is shown with."""
    shortened = [None if value is None else float(f"{value:.{_DIGITS}g}") for value in values]
    if decimals is None:
        decimals = _telling_decimals([value for value in shortened if value is not None])
    if all(value is None or value == round(value) for value in shortened):
        decimals = 0
    return {
        "key": key,
        "label": label,
        "kind": "number",
        "filter": False,
        "decimals": decimals,
        "values": shortened,
    }


def _telling_decimals(values: Sequence[float]) -> int:
    """Four digits of the largest value, or as many more as tell the values apart: scores can crowd below 1."""
    largest = max((abs(value) for value in values if value), default=1.0)
    fewest = min(10, max(0, _SHOWN_DIGITS - 1 - math.floor(math.log10(largest))))
    different = len(set(values))
    for decimals in range(fewest, fewest + _DIGITS - _SHOWN_DIGITS):
        if len({round(value, decimals) for value in values}) >= _TOLD_APART * different:
            return decimals
    return fewest + _DIGITS - _SHOWN_DIGITS


def _words(key: str, label: str, values: list[str], *, filtered: bool = True) -> dict[str, Any]:
    words = sorted(set(values))
    number_of = {word: number for number, word in enumerate(words)}
    return {
        "key": key,
        "label": label,
        "kind": "word",
        "filter": filtered and len(words) > 1,
        "words": words,
        "values": [number_of[value] for value in values],
    }


def _empty(column: dict[str, Any]) -> bool:
    """Whether a column says nothing of any row: no calibration, no boxes, no known sex."""
    if column["kind"] == "number":
        return all(value is None for value in column["values"])
    return column["kind"] == "word" and set(column["words"]) <= {"", "unknown"}


def _picture(thumbnail: Thumbnail) -> dict[str, Any]:
    return {
        "row": thumbnail.index,
        "xray": _address(thumbnail.xray, "image/jpeg"),
        "heat": _address(thumbnail.heat, "image/png"),
        "boxes": thumbnail.boxes,
        "outline": thumbnail.outline,
    }


def _address(picture: bytes | str, kind: str) -> str:
    return picture if isinstance(picture, str) else f"data:{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _shown(column: dict[str, Any], number: int) -> str:
    value = column["values"][number]
    if column["kind"] == "word":
        return str(column["words"][value]) or NOTHING
    if column["kind"] == "number":
        return NOTHING if value is None else f"{value:.{column['decimals']}f}"
    return str(value)
