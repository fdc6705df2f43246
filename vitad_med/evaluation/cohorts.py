"""Cohorts: which images a figure is about, and the key that names them.

A cohort is a set of ``axis=value`` conditions. Its key joins them by comma, built-in axes first in the order of
``AXES``, then columns of the user's own table by name: ``sex=F,view=AP,scanner=B``. The set of all images is ``all``. A
value that is not known is ``unknown``, so that no image drops out of an axis silently.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from vitad_med.data.case import UNKNOWN, Case
from vitad_med.errors import ConfigError
from vitad_med.metrics.metadata import AGE_BANDS, age_band

ALL = "all"
AXES = ("sex", "view", "age", "finding", "group")
MAX_VALUES = 50
"""An axis of more values is a measurement or an identifier, not a set of cohorts."""

_FIRST_VALUES = {
    "sex": ("M", "F"),
    "view": ("PA", "AP"),
    "age": tuple(age_band(low) for low, _ in AGE_BANDS),
}
_SEX_NAMES = {"M": "men", "F": "women"}


def axis_values(case: Case, axis: str) -> tuple[str, ...]:
    """Values of one case on one axis; more than one only for ``finding``, none for the finding of a normal image."""
    if axis == "sex":
        return (case.sex or UNKNOWN,)
    if axis == "view":
        return (case.view or UNKNOWN,)
    if axis == "age":
        return (age_band(case.age),)
    if axis == "group":
        return (case.group or UNKNOWN,)
    if axis == "finding":
        if case.label == 0:
            return ()
        return tuple(sorted({*case.findings, *(box.finding for box in case.boxes if box.finding)})) or (UNKNOWN,)
    return (dict(case.columns).get(axis) or UNKNOWN,)


def parse_axes(text: str) -> list[tuple[str, ...]]:
    """Axes as written on a command line: ``sex,view,sex:age`` is by sex, by view, and by sex crossed with age.

    Raises:
        ConfigError: an empty or repeated part.
    """
    axes = [tuple(part.strip() for part in entry.split(":")) for entry in text.split(",") if entry.strip()]
    for entry in axes:
        if not all(entry) or len(set(entry)) < len(entry):
            raise ConfigError(f"--cohorts '{text}' is malformed at '{':'.join(entry)}'; write e.g. sex,view,sex:age.")
    return list(dict.fromkeys(axes))


def check_axes(cases: Sequence[Case], axes: Sequence[Sequence[str]]) -> None:
    """Check that every axis exists and divides the cases into few enough cohorts.

    Raises:
        ConfigError: an axis that does not exist (the message lists those that do), or one of too many values.
    """
    known = [*AXES, *sorted({name for case in cases for name, _ in case.columns})]
    for axis in dict.fromkeys(axis for entry in axes for axis in entry):
        if axis not in known:
            close = difflib.get_close_matches(axis, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"Cohort axis '{axis}' does not exist; the axes are {', '.join(known)}{hint}")
        values = {value for case in cases for value in axis_values(case, axis)}
        if len(values) > MAX_VALUES:
            raise ConfigError(
                f"Cohort axis '{axis}' has {len(values)} different values, more than {MAX_VALUES}; sort them into a "
                "few classes in a column of its own."
            )


def format_key(conditions: Mapping[str, str]) -> str:
    """Key of a set of conditions; ``%``, comma and ``=`` inside a name or value are percent-encoded."""
    return ",".join(f"{_encode(axis)}={_encode(conditions[axis])}" for axis in _ordered(conditions)) or ALL


def parse_key(key: str) -> dict[str, str]:
    """Conditions of a key, the inverse of ``format_key``.

    Raises:
        ConfigError: a repeated axis, or a part without ``=``.
    """
    conditions: dict[str, str] = {}
    if key == ALL:
        return conditions
    for part in key.split(","):
        axis, equals, value = part.partition("=")
        axis = _decode(axis)
        if not equals or not axis or axis in conditions:
            raise ConfigError(
                f"Cohort key '{key}' is malformed at '{part}'; write axis=value parts joined by commas, each axis once."
            )
        conditions[axis] = _decode(value)
    return conditions


def cohort_name(key: str) -> str:
    """A cohort's key in words: ``women, view AP, age 40-64``."""
    words = []
    for axis, value in parse_key(key).items():
        words.append(_SEX_NAMES.get(value, f"sex {value}") if axis == "sex" else f"{axis} {value}")
    return ", ".join(words) or ALL


def select(cases: Sequence[Case], key: str) -> np.ndarray:
    """Which cases belong to a cohort.

    The axis ``finding`` divides abnormal images only: normal images are the comparison group of every finding.

    Returns:
        bool array [N].
    """
    conditions = parse_key(key)
    return np.array(
        [
            all(
                value in axis_values(case, axis) or (axis == "finding" and case.label == 0)
                for axis, value in conditions.items()
            )
            for case in cases
        ],
        dtype=bool,
    )


def cohort_keys(cases: Sequence[Case], by: Sequence[Sequence[str]] = (("sex",), ("view",))) -> list[str]:
    """Keys of every cohort that occurs: ``all`` first, then for each entry of ``by`` the crossing of its axes.

    Args:
        cases: the evaluated cases.
        by: tuples of axes, e.g. ``(("sex",), ("sex", "view"))``.

    Returns:
        Keys without repetition, values in their clinical order, ``unknown`` last.

    Raises:
        ConfigError: see :func:`check_axes`.
    """
    check_axes(cases, by)
    keys = [ALL]
    for axes in by:
        ordered = _ordered(axes)
        present = {combination for case in cases for combination in product(*(axis_values(case, a) for a in ordered))}
        ranked = sorted(present, key=lambda values: [_rank(a, v) for a, v in zip(ordered, values, strict=True)])
        keys += [format_key(dict(zip(ordered, values, strict=True))) for values in ranked]
    return list(dict.fromkeys(keys))


def _ordered(axes: Mapping[str, str] | Sequence[str]) -> list[str]:
    return [axis for axis in AXES if axis in axes] + sorted(axis for axis in axes if axis not in AXES)


def _rank(axis: str, value: str) -> tuple[int, int, str]:
    known = _FIRST_VALUES.get(axis, ())
    return (int(value == UNKNOWN), known.index(value) if value in known else len(known), value)


def _encode(value: str) -> str:
    return value.replace("%", "%25").replace(",", "%2C").replace("=", "%3D")


def _decode(value: str) -> str:
    return value.replace("%3D", "=").replace("%2C", ",").replace("%25", "%")
