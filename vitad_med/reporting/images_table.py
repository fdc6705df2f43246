"""The images of a report, highest score first: ``images.csv``, and the rows of the page's worklist."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from vitad_med.data.case import UNKNOWN
from vitad_med.evaluation.cohorts import parse_key
from vitad_med.evaluation.files import write_text
from vitad_med.metrics.metadata import age_band
from vitad_med.predictions.identifiers import safe_cell
from vitad_med.predictions.records import Predictions
from vitad_med.reporting.analysis.build import Report
from vitad_med.reporting.page.records import Row

_BEFORE = ("image", "patient", "label", "score", "p_value", "flagged", "sex", "view", "age_band", "findings")
WITHHELD = "withheld"
_AFTER = ("localized", "pixel_auroc", "pointing_hit")


def worklist_order(predictions: Predictions) -> list[int]:
    """Numbers of the images, highest score first, equal scores by name."""
    names = [case.case_id for case in predictions.cases]
    return sorted(range(len(names)), key=lambda i: (-predictions.scores[i], names[i]))


def image_rows(
    predictions: Predictions, report: Report, order: Sequence[int], columns: Collection[str] | None = None
) -> list[Row]:
    """One row for each number in ``order``, with the further columns named in ``columns``; all of them if omitted."""
    hidden = _withheld(report)

    def told(axis: str, value: str) -> str:
        return WITHHELD if (axis, value) in hidden else value

    found = dict.fromkeys(name for case in predictions.cases for name, _ in case.columns)
    axes = [name for name in found if columns is None or name in columns]
    with_groups = any(case.group for case in predictions.cases) and (columns is None or "group" in columns)
    rows = []
    for i in order:
        case = predictions.cases[i]
        values = dict(case.columns)
        group = (("group", told("group", case.group or UNKNOWN)),) if with_groups else ()
        rows.append(
            Row(
                image=case.case_id,
                patient=case.patient_id,
                score=float(predictions.scores[i]),
                label=case.label,
                p_value=_known(report.p_values[i]),
                flagged=None if report.flagged is None else bool(report.flagged[i]),
                sex=told("sex", case.sex),
                view=told("view", case.view),
                age_band=told("age", age_band(case.age)),
                findings=tuple(told("finding", finding) for finding in case.findings),
                columns=(*group, *((axis, told(axis, values.get(axis) or UNKNOWN)) for axis in axes)),
                localized=case.localized,
                pixel_auroc=_known(report.pixel_auroc[i]),
                pointing_hit=_known(report.pointing_hit[i]),
            )
        )
    return rows


def _withheld(report: Report) -> set[tuple[str, str]]:
    """Axis and value of the cohorts whose counts are withheld: their rows must not show who is in them."""
    keys = [key for key, cohort in report.document["cohorts"].items() if cohort["n_images"] is None]
    return {condition for key in keys for condition in parse_key(key).items() if len(parse_key(key)) == 1}


def write_images_table(path: str | Path, rows: Sequence[Row]) -> None:
    """Write ``images.csv``; text that a spreadsheet would run is preceded by an apostrophe.

    Raises:
        StorageError: the file cannot be written.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    axes = [axis for axis, _ in rows[0].columns] if rows else []
    writer.writerow([*_BEFORE, *(safe_cell(axis) for axis in axes), *_AFTER])
    for row in rows:
        writer.writerow(
            [
                safe_cell(row.image),
                safe_cell(row.patient),
                "" if row.label is None else row.label,
                _number(row.score),
                _number(row.p_value),
                "" if row.flagged is None else int(row.flagged),
                safe_cell(row.sex),
                safe_cell(row.view),
                safe_cell(row.age_band),
                safe_cell("|".join(row.findings)),
                *(safe_cell(value) for _, value in row.columns),
                int(row.localized),
                _number(row.pixel_auroc),
                _number(row.pointing_hit),
            ]
        )
    write_text(path, stream.getvalue())


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"
