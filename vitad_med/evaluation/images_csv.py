"""``images.csv``: one row an image, with its cohort columns, its score and its own localization figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitad_med.data.case import Case
from vitad_med.evaluation.files import write_text
from vitad_med.metrics.metadata import age_band
from vitad_med.predictions.identifiers import Identifiers, public_names, safe_cell

COLUMNS = (
    "case_id",
    "patient_id",
    "source",
    "group",
    "split",
    "label",
    "sex",
    "view",
    "age",
    "age_band",
    "findings",
    "score",
    "localized",
    "pixel_auroc",
    "pointing_hit",
)


def write_images_csv(
    path: str | Path,
    cases: Sequence[Case],
    scores: np.ndarray,
    *,
    pixel_auroc: np.ndarray,
    pointing_hit: np.ndarray,
    identifiers: Identifiers = "hashed",
    identifier_key: bytes | None = None,
) -> None:
    """Write the table, rows in the order of ``cases``.

    Args:
        path: file to write.
        cases: N cases.
        scores: float [N].
        pixel_auroc: float [number of localized cases], each image's own AUROC, in the order of the localized cases.
        pointing_hit: float [number of localized cases], 0..1.
        identifiers: ``clear`` or ``hashed``.
        identifier_key: secret of ``hashed``.

    Raises:
        ConfigError: see ``public_names``.
        StorageError: the file cannot be written.
    """
    case_names, patient_names = public_names(cases, identifiers, identifier_key)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    localized_index = 0
    for index, case in enumerate(cases):
        figures = ["", ""]
        if case.localized:
            figures = [_number(pixel_auroc[localized_index]), _number(pointing_hit[localized_index])]
            localized_index += 1
        writer.writerow(
            [
                safe_cell(case_names[index]),
                safe_cell(patient_names[index]),
                safe_cell(case.source),
                safe_cell(case.group),
                case.split,
                case.label,
                safe_cell(case.sex),
                safe_cell(case.view),
                "" if case.age is None else _number(case.age),
                safe_cell(age_band(case.age)),
                safe_cell("|".join(case.findings)),
                _number(scores[index]),
                int(case.localized),
                *figures,
            ]
        )
    write_text(path, stream.getvalue())


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{float(value):.7g}"
