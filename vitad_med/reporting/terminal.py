"""The report on the terminal: the verdicts and what an alarm means, in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vitad_med.evaluation.document import Value
from vitad_med.evaluation.verdict import format_figure, format_interval

_STYLES = {"yes": "bold green", "no": "bold red", "cannot tell": "yellow"}
_FIGURES = (
    ("image AUROC", "image", "image_auroc"),
    ("metadata alone", "image", "metadata_null_auroc"),
    ("conditioned", "localization", "conditioned_auroc"),
)


def print_summary(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Print one row a cohort and the verdict on all images.

    Args:
        report: content of report.json.
        console: where to; standard output when not given.
    """
    out = console or Console()
    overall = report["cohorts"]["all"]["verdict"]
    out.print(Text("Does it localize better than position and brightness alone?", style="bold"))
    out.print(Text(f"  {overall['sentence']}", style=_STYLES[overall["answer"]]))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("cohort")
    table.add_column("images", justify="right")
    for name, _, _ in _FIGURES:
        table.add_column(name)
    table.add_column("localizes better?")
    for cohort in report["cohorts"].values():
        figures = [_figure(cohort[group][metric]) for _, group, metric in _FIGURES]
        answer = cohort["verdict"]["answer"]
        count = "few" if cohort["n_images"] is None else f"{cohort['n_images']:,}"
        table.add_row(cohort["name"], count, *figures, Text(answer, style=_STYLES[answer]))
    out.print(table)
    point = report["operating_point"]
    if point is not None and point["threshold"] is not None:
        figures = point["cohorts"]["all"]
        out.print(
            f"At a stated false-positive rate of {point['false_positive_rate']:g} "
            f"(threshold {point['threshold']:.4g}): sensitivity {_figure(figures['sensitivity'])}, "
            f"PPV {_figure(figures['ppv'])} at a prevalence of {point['prevalence']:g}."
        )


def _figure(value: Value) -> str:
    if value["value"] is None:
        return "-"
    if value["low"] is None or value["high"] is None:
        return format_figure(value["value"])
    return f"{format_figure(value['value'])} {format_interval(value['low'], value['high'])}"
