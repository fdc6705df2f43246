"""Gaps between cohorts: in sentences for the summary, and as a table, crude beside standardised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitad_med.reporting.page.names import axis_name, metric_name
from vitad_med.reporting.page.numbers import (
    NOTHING,
    Cell,
    figure_cell,
    figure_text,
    fraction,
    has_value,
    percent,
    probability,
)
from vitad_med.reporting.page.tables import Table, TableRow

_TESTS = {"permutation": "permutation of patients", "bootstrap": "clustered bootstrap"}


def surviving_gaps(report: Mapping[str, Any]) -> list[str]:
    """One sentence for each gap that survives Holm's correction at the report's level."""
    alpha = _alpha(report)
    return [
        f"{axis_name(gap['axis'])}, {_metric(gap)}: {'; '.join(_worst(gap))}; "
        f"p {_after_holm(gap['p_holm'])} after Holm."
        for gap in report.get("gaps") or []
        if _survives(gap, alpha)
    ]


def gap_table(report: Mapping[str, Any]) -> Table:
    """Every comparison, with the cohorts of its axis below one another."""
    alpha = _alpha(report)
    rows = []
    for gap in report.get("gaps") or []:
        shown = gap.get("levels") or [{"name": NOTHING}]
        for number, level in enumerate(shown):
            first = number == 0
            survives = _survives(gap, alpha)
            reason = gap.get("reason") or "" if first else ""
            rows.append(
                TableRow(
                    f"{axis_name(gap['axis'])}, {_metric(gap)}" if first else "",
                    [
                        Cell(level["name"]),
                        figure_cell(level.get("value")),
                        figure_cell(level.get("crude"), signed=True),
                        figure_cell(level.get("standardised"), signed=True),
                        Cell(NOTHING if level.get("support") is None else percent(level["support"])),
                        Cell(probability(gap.get("p")), note=reason) if first else Cell(""),
                        Cell(probability(gap.get("p_holm")), interval="survives" if survives else "")
                        if first
                        else Cell(""),
                        Cell(_TESTS.get(gap.get("test") or "", gap.get("test") or NOTHING)) if first else Cell(""),
                    ],
                    starts_group=first,
                    strong=survives,
                )
            )
    columns = ("Comparison", "Cohort", "Figure", "Gap, crude", "Gap, standardised", "Support", "p", "p, Holm", "Test")
    return Table("Gaps between cohorts, each against the others of its axis", columns, rows, text_columns=(1, 8))


def _alpha(report: Mapping[str, Any]) -> float:
    # Rounded: 1 - .95 lies a little above .05, and would let p = .05 through.
    return round(1 - report["settings"]["level"], 9)


def _survives(gap: Mapping[str, Any], alpha: float) -> bool:
    return gap.get("p_holm") is not None and gap["p_holm"] < alpha


def _worst(gap: Mapping[str, Any]) -> list[str]:
    """The cohorts that fall behind; where none is listed as lower, the ones that lead."""
    scored = [level for level in gap.get("levels") or [] if has_value(level.get("crude"))]
    behind = [level for level in scored if level["crude"]["value"] < 0]
    apart = [level for level in behind if level["crude"].get("high") is None or level["crude"]["high"] < 0]
    return [_level_text(level) for level in apart or behind or scored]


def _level_text(level: Mapping[str, Any]) -> str:
    crude = level["crude"]["value"]
    direction = "below" if crude < 0 else "above"
    text = f"{level['name']} {figure_text(level.get('value'))}, {fraction(abs(crude))} {direction} the others"
    if has_value(level.get("standardised")):
        text += f" (standardised {fraction(level['standardised']['value'], signed=True)})"
    return text


def _metric(gap: Mapping[str, Any]) -> str:
    name = metric_name(gap["metric"])
    return name[:1].lower() + name[1:]


def _after_holm(p: float) -> str:
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"
