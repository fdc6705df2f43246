"""Types of the figures in a report: what a figure may hold, by the range that it lies in."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from vitad_med.reporting.document.typed_json import Rule, between, require

Number = Annotated[int | None, between(0, float("inf"))]
"""A count, null where it is suppressed."""

Share = Annotated[float, between(0, 1)]


class ReportFigure(TypedDict):
    """A figure as in ``metrics.json`` (``vitad_med.evaluation.document.Value``).

    In a report ``n`` may be null, where it is a suppressed count.
    """

    value: float | None
    low: float | None
    high: float | None
    n: Number
    reason: str | None


def figure_in(low: float, high: float) -> Rule:
    """Rule: the numbers of a figure lie in [low, high], in order, and agree with its reason."""
    inside = between(low, high)

    def rule(figure: Any, where: str) -> None:
        numbers = [figure["value"], figure["low"], figure["high"]]
        if figure["reason"] is not None:
            require(figure["reason"] != "", f"{where}.reason", "null or text")
            require(numbers == [None] * 3, where, "null in value, low and high, because it has a reason")
            return
        require(figure["value"] is not None, f"{where}.value", "a number, because no reason says why it is absent")
        require((figure["low"] is None) == (figure["high"] is None), where, "an interval with both ends or none")
        for key, number in zip(("value", "low", "high"), numbers, strict=True):
            inside(number, f"{where}.{key}")
        if figure["low"] is not None:
            require(figure["low"] <= figure["high"], where, "an interval whose low end is not above its high end")

    return rule


Figure = Annotated[ReportFigure, figure_in(0, 1)]
Difference = Annotated[ReportFigure, figure_in(-1, 1)]
Alarms = Annotated[ReportFigure, figure_in(0, 100)]
