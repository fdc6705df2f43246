"""The document ``compare.json`` and the table ``compare.csv``: two methods on the same images."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from vitad_med.evaluation.files import write_text
from vitad_med.predictions.identifiers import safe_cell
from vitad_med.reporting.document.figure_rules import Difference, Figure, Number, Share
from vitad_med.reporting.document.typed_json import between, write_document
from vitad_med.reporting.texts.cohorts_csv import count_cell, number_cell

COMPARISON_SCHEMA = "vitad_med/comparison/1"
COMPARED_COLUMNS = (
    "cohort",
    "name",
    "n_images",
    "n_patients",
    "metric",
    "a",
    "b",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "n",
    "reason",
)


class Side(TypedDict):
    """One of the two runs."""

    method: str | None
    model_digest: str | None
    pipeline_digest: str | None
    backend_digest: str | None
    digest: str
    only_here: int


class ComparisonSettings(TypedDict):
    """What the figures depend on."""

    cohorts: list[str]
    replicates: int
    seed: int
    level: Share
    eval_size: int
    min_patients: int
    interval_patients: int
    primary: list[str]


class ComparedFigure(TypedDict):
    """One metric of both methods, and B minus A with its p-value; p only of primary metrics."""

    a: Figure
    b: Figure
    difference: Difference
    p: Share | None
    p_holm: Share | None


class DelongDifference(TypedDict):
    """B minus A in image AUROC with its clustered DeLong interval and p-value, a cross-check of the bootstrap."""

    value: Annotated[float, between(-1, 1)]
    low: float
    high: float
    p: Share


class ComparedVerdict(TypedDict):
    """Does B localize better than A?"""

    answer: Literal["yes", "no", "cannot tell"]
    sentence: str


class ComparedCohort(TypedDict):
    """One cohort; counts are null where suppressed."""

    name: str
    n_images: Number
    n_patients: Number
    n_localized: Number
    metrics: dict[str, ComparedFigure]
    delong: DelongDifference | None
    verdict: ComparedVerdict


class Comparison(TypedDict):
    """The whole of ``compare.json``."""

    schema: str
    a: Side
    b: Side
    public: bool
    settings: ComparisonSettings
    cohorts: dict[str, ComparedCohort]
    notes: list[str]


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write ``compare.json`` and ``compare.csv``; the same comparison gives the same bytes.

    Raises:
        DataError: the document breaks its type.
        StorageError: a file cannot be written.
    """
    write_document(folder / "compare.json", comparison, Comparison)
    write_text(folder / "compare.csv", comparison_csv(comparison))


def comparison_csv(comparison: Comparison) -> str:
    """One row a cohort and metric."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COMPARED_COLUMNS)
    for key, cohort in comparison["cohorts"].items():
        for metric, compared in cohort["metrics"].items():
            difference: Any = compared["difference"]
            writer.writerow(
                [
                    safe_cell(key),
                    safe_cell(cohort["name"]),
                    count_cell(cohort["n_images"]),
                    count_cell(cohort["n_patients"]),
                    metric,
                    number_cell(compared["a"]["value"]),
                    number_cell(compared["b"]["value"]),
                    *(number_cell(difference[end]) for end in ("value", "low", "high")),
                    number_cell(compared["p"]),
                    number_cell(compared["p_holm"]),
                    count_cell(difference["n"]),
                    safe_cell(difference["reason"] or ""),
                ]
            )
    return stream.getvalue()
