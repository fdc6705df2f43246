"""``cohorts.csv``: every figure of every cohort of a report, one row each, for statistics programs and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vitad_med.evaluation.files import write_text
from vitad_med.evaluation.images_csv import safe_cell
from vitad_med.reporting.document.types import Report

COHORT_COLUMNS = (
    "cohort",
    "name",
    "n_images",
    "n_patients",
    "map",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "reason",
)
METHOD = "method"
DIFFERENCE = "difference to "


def cohort_rows(report: Report) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Every figure of the report as (cohort, map, metric, figure), in the order of the table.

    ``map`` is ``method``, the name of a null map, or ``difference to <null map>``. The clustered DeLong estimate is the
    metric ``image_auroc_delong``; figures at the operating point follow those of localization.
    """
    operating = {} if report["operating_point"] is None else report["operating_point"]["cohorts"]
    for key, cohort in report["cohorts"].items():
        for metric, figure in cohort["image"].items():
            yield key, METHOD, metric, figure
            if metric == "image_auroc" and cohort["delong"] is not None:
                yield key, METHOD, "image_auroc_delong", {**cohort["delong"], "n": figure["n"], "reason": None}
        yield key, f"{DIFFERENCE}metadata", "image_auroc", cohort["metadata_difference"]
        for metric, figure in cohort["localization"].items():
            yield key, METHOD, metric, figure
        at_threshold: Any = operating.get(key, {})
        for metric, figure in at_threshold.items():
            yield key, METHOD, metric, figure
        for name, figures in cohort["nulls"].items():
            for metric, figure in figures.items():
                yield key, name, metric, figure
        for name, figure in cohort["differences"].items():
            yield key, DIFFERENCE + name, "conditioned_auroc", figure


def write_cohorts_csv(path: str | Path, report: Report) -> None:
    """Write the table; numbers with six decimals, nothing where there is none or where a count is suppressed.

    Raises:
        StorageError: the file cannot be written.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COHORT_COLUMNS)
    for key, map_name, metric, figure in cohort_rows(report):
        cohort = report["cohorts"][key]
        writer.writerow(
            [
                safe_cell(key),
                safe_cell(cohort["name"]),
                count_cell(cohort["n_images"]),
                count_cell(cohort["n_patients"]),
                safe_cell(map_name),
                safe_cell(metric),
                *(number_cell(figure[end]) for end in ("value", "low", "high")),
                count_cell(figure["n"]),
                safe_cell(figure["reason"] or ""),
            ]
        )
    write_text(path, stream.getvalue())


def number_cell(value: float | None) -> str:
    """Six decimals, or nothing."""
    return "" if value is None else f"{value + 0.0:.6f}"


def count_cell(value: int | None) -> str:
    """A whole number, or nothing."""
    return "" if value is None else str(value)
