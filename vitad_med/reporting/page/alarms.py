"""What an alarm means: 100 studies as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitad_med.reporting.page.numbers import has_value, plain

STUDIES = 100
KINDS = ("right", "false", "missed", "quiet")
_WORDS = {
    "right": "alarms on abnormal studies",
    "false": "alarms on normal studies",
    "missed": "abnormal studies without an alarm",
    "quiet": "normal studies without an alarm",
}


@dataclass(frozen=True)
class Alarms:
    """100 studies at a prevalence, in expected numbers that sum to 100.

    Attributes:
        expected: kind -> expected number of studies.
        marks: kind of each of the 100 marks of the picture, rounded to whole studies.
        legend: (kind, number in words, meaning).
    """

    expected: dict[str, float]
    marks: list[str]
    legend: list[tuple[str, str, str]]

    @property
    def alarms(self) -> float:
        """Expected alarms among 100 studies."""
        return self.expected["right"] + self.expected["false"]


def alarms_of(operating_point: Mapping[str, Any] | None) -> Alarms | None:
    """The 100 studies at the operating point; None where its rates are not known."""
    point = ((operating_point or {}).get("cohorts") or {}).get("all") or {}
    rate, sensitivity = point.get("false_positive_rate"), point.get("sensitivity")
    prevalence = (operating_point or {}).get("prevalence")
    if prevalence is None or not has_value(rate) or not has_value(sensitivity):
        return None
    abnormal, normal = STUDIES * prevalence, STUDIES * (1 - prevalence)
    expected = {
        "right": abnormal * sensitivity["value"],
        "false": normal * rate["value"],
        "missed": abnormal * (1 - sensitivity["value"]),
        "quiet": normal * (1 - rate["value"]),
    }
    marks = [kind for kind, number in zip(KINDS, _whole(expected), strict=True) for _ in range(number)]
    return Alarms(expected, marks, [(kind, plain(expected[kind]), _WORDS[kind]) for kind in KINDS])


def _whole(expected: Mapping[str, float]) -> list[int]:
    """Whole numbers with the same sum, by largest remainder."""
    values = np.array([expected[kind] for kind in KINDS])
    whole = np.floor(values).astype(int)
    largest = np.argsort(-(values - whole), kind="stable")[: STUDIES - whole.sum()]
    whole[largest] += 1
    return whole.tolist()
