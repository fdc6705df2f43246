"""What a cell of a table may hold, and what it means."""

from __future__ import annotations

import math
import re

from vitad_med.data.case import UNKNOWN, Split
from vitad_med.predictions.layout import COLUMNS, FINDING_SEPARATOR, NO_FINDING, RESERVED
from vitad_med.predictions.table import Cell

OLDEST_AGE = 120.0

_NOTHING = frozenset({"", "unknown", "u", "o", "other", "nan", "none", "null", "na", "n/a"})
_LABELS = {"0": 0, "1": 1, "normal": 0, "abnormal": 1}
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test", "": "test"}
_YEARS_PER_UNIT = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_SIMPLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)


def number(cell: Cell) -> float:
    """A number; NaN, infinite and missing ones come back as they are, an empty cell as NaN."""
    if not cell.text:
        return math.nan
    if not _NUMBER.fullmatch(cell.text):
        raise cell.error(f"'{cell.text}' is no number; write digits with a decimal point")
    return float(cell.text)


def label(cell: Cell) -> int:
    """0 normal, 1 abnormal."""
    text = cell.text.lower()
    if text.endswith(".0"):  # pandas writes whole numbers so, once a column had a gap
        text = text[:-2]
    if text not in _LABELS:
        raise cell.error(f"'{cell.text}' is no label; write 0 or normal, 1 or abnormal")
    return _LABELS[text]


def sex(cell: Cell) -> str:
    """``M``, ``F`` or ``unknown``."""
    text = cell.text.lower()
    if text in _NOTHING:
        return UNKNOWN
    if text not in _SEXES:
        raise cell.error(f"'{cell.text}' is no sex; write M, F, male or female, or leave it empty")
    return _SEXES[text]


def view(cell: Cell) -> str:
    """``PA``, ``AP``, another name as it is, or ``unknown``."""
    if cell.text.lower() in _NOTHING:
        return UNKNOWN
    return cell.text.upper() if cell.text.upper() in ("PA", "AP") else cell.text


def age(cell: Cell) -> float | None:
    """Years from a number or a DICOM age (``062Y``, ``013M``, ``005W``, ``009D``); None when unknown or above 120."""
    if cell.text.lower() in _NOTHING:
        return None
    parts = re.fullmatch(r"(\d+(?:\.\d*)?)([YMWD]?)", cell.text.upper())
    if parts is None:
        raise cell.error(f"'{cell.text}' is no age; write years, or a DICOM age such as 062Y, or leave it empty")
    years = float(parts[1]) * _YEARS_PER_UNIT[parts[2]]
    return years if years <= OLDEST_AGE else None


def findings(cell: Cell) -> tuple[str, ...]:
    """Names joined by ``|``; ``No Finding`` is none."""
    names = (name.strip() for name in cell.text.split(FINDING_SEPARATOR))
    return tuple(dict.fromkeys(name for name in names if name and name.lower() != NO_FINDING.lower()))


def split(cell: Cell) -> Split:
    """``train``, ``val`` or ``test``, which is also an empty cell."""
    if cell.text.lower() not in _SPLITS:
        raise cell.error(f"'{cell.text}' is no split; write train, val or test, or leave it empty")
    return _SPLITS[cell.text.lower()]


def check_axis_name(header: Cell) -> None:
    """A further column names a cohort axis: letters, digits and underscores, and nothing that has a meaning already."""
    if header.text in RESERVED or header.text.lower() in RESERVED:
        raise header.error(f"the name is reserved; rename it, the columns with a meaning are {', '.join(COLUMNS)}")
    if not _SIMPLE_NAME.fullmatch(header.text):
        raise header.error(
            "a further column is a cohort axis, whose name starts with a letter and holds up to 40 letters, digits and "
            "underscores; rename it, or take it away"
        )
