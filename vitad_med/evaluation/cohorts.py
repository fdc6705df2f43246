"""Cohorts: which images a figure is about, and the key that names them.

A cohort is a set of ``axis=value`` conditions. Its key joins them by comma in the order of ``AXES``, for example
``sex=F,view=AP,age=40-64``; the set of all images is ``all``. A value that is not known is ``unknown``, so that no
image drops out of an axis silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from vitad_med.data.case import UNKNOWN, Case
from vitad_med.errors import ConfigError
from vitad_med.metrics.metadata import AGE_BANDS, age_band

ALL = "all"
AXES = ("sex", "view", "age", "finding", "group")

_FIRST_VALUES = {
    "sex": ("M", "F"),
    "view": ("PA", "AP"),
    "age": tuple(age_band(low) for low, _ in AGE_BANDS),
}


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
    raise ConfigError(f"Cohort axis '{axis}' does not exist; the axes are {', '.join(AXES)}.")


def format_key(conditions: Mapping[str, str]) -> str:
    """Key of a set of conditions; ``%``, comma and ``=`` inside a value are percent-encoded."""
    for axis in conditions:
        if axis not in AXES:
            raise ConfigError(f"Cohort axis '{axis}' does not exist; the axes are {', '.join(AXES)}.")
    return ",".join(f"{axis}={_encode(conditions[axis])}" for axis in AXES if axis in conditions) or ALL


def parse_key(key: str) -> dict[str, str]:
    """Conditions of a key, the inverse of ``format_key``.

    Raises:
        ConfigError: an unknown or repeated axis, or a part without ``=``.
    """
    conditions: dict[str, str] = {}
    if key == ALL:
        return conditions
    for part in key.split(","):
        axis, equals, value = part.partition("=")
        if not equals or axis not in AXES or axis in conditions:
            raise ConfigError(
                f"Cohort key '{key}' is malformed at '{part}'; write axis=value parts joined by commas, "
                f"each axis once, with axes {', '.join(AXES)}."
            )
        conditions[axis] = _decode(value)
    return conditions


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
        ConfigError: an axis that does not exist.
    """
    keys = [ALL]
    for axes in by:
        for axis in axes:
            if axis not in AXES:
                raise ConfigError(f"Cohort axis '{axis}' does not exist; the axes are {', '.join(AXES)}.")
        ordered = [axis for axis in AXES if axis in axes]
        present = {combination for case in cases for combination in product(*(axis_values(case, a) for a in ordered))}
        ranked = sorted(present, key=lambda values: [_rank(a, v) for a, v in zip(ordered, values, strict=True)])
        keys += [format_key(dict(zip(ordered, values, strict=True))) for values in ranked]
    return list(dict.fromkeys(keys))


def _rank(axis: str, value: str) -> tuple[int, int, str]:
    known = _FIRST_VALUES.get(axis, ())
    return (int(value == UNKNOWN), known.index(value) if value in known else len(known), value)


def _encode(value: str) -> str:
    return value.replace("%", "%25").replace(",", "%2C").replace("=", "%3D")


def _decode(value: str) -> str:
    return value.replace("%3D", "=").replace("%2C", ",").replace("%25", "%")
