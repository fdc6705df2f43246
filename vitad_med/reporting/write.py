"""All files of a report, written into one folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vitad_med.errors import ConfigError
from vitad_med.evaluation.truth import truth_masks
from vitad_med.predictions import layout
from vitad_med.predictions.records import Predictions
from vitad_med.reporting.analysis.build import Report
from vitad_med.reporting.document.document import check_report, write_report
from vitad_med.reporting.images_table import image_rows, worklist_order, write_images_table
from vitad_med.reporting.page.records import Thumbnail
from vitad_med.reporting.page.render import write_page
from vitad_med.reporting.page.thumbnails import make_thumbnail, remove_thumbnails, store_thumbnails
from vitad_med.reporting.texts.checklist import write_checklist
from vitad_med.reporting.texts.cohorts_csv import write_cohorts_csv
from vitad_med.reporting.texts.model_card import write_model_card

_logger = logging.getLogger(__name__)

THUMBNAILS = 200
"""Pictures inside the page unless asked otherwise."""


def write_report_files(
    folder: str | Path,
    predictions: Predictions,
    report: Report,
    *,
    thumbnails: int | None = THUMBNAILS,
    metadata: dict[str, Any] | None = None,
) -> list[Path]:
    """Write ``report.html``, ``report.json``, ``cohorts.csv``, ``images.csv``, ``model_card.md`` and the checklist.

    Args:
        folder: made when missing; files of an earlier report are replaced one by one, each of them whole.
        predictions: what the report is about.
        report: the computed report.
        thumbnails: pictures of the first so many rows of the worklist inside the page; None for pictures of all rows,
            in the folder ``thumbnails`` beside it.
        metadata: content of the bundle's ``metadata.json``, for the model card and the checklist.

    Returns:
        The files, report.json last, so that a folder with report.json holds a whole report.

    Raises:
        ConfigError: the folder holds a run.
        StorageError: a file cannot be written.
    """
    root = Path(folder)
    check_place(root)
    # What is left of an earlier report must not pass for a whole one, nor its pictures for wanted ones.
    (root / "report.json").unlink(missing_ok=True)
    remove_thumbnails(root)
    order = worklist_order(predictions)
    axes = {axis for entry in report.document["settings"]["cohorts"] for axis in entry.split(":")}
    # A further column may be an accession number or a date: of data that are not public only cohorts leave the table.
    rows = image_rows(predictions, report, order, None if predictions.journal.public else axes)
    made = make_thumbnails(predictions, order if thumbnails is None else order[:thumbnails])
    # Pictures that go into files are written as they are made, so that memory does not hold them all.
    pictures = store_thumbnails(root, made) if thumbnails is None else list(made)
    document = check_report(report.document)
    write_images_table(root / "images.csv", rows)
    write_cohorts_csv(root / "cohorts.csv", document)
    write_model_card(root / "model_card.md", document, metadata)
    write_checklist(root / "reporting_checklist.md", document, metadata)
    write_page(root / "report.html", document, rows, pictures)
    write_report(root / "report.json", document)
    names = ("report.html", "cohorts.csv", "images.csv", "model_card.md", "reporting_checklist.md", "report.json")
    return [root / name for name in names]


def check_place(folder: Path) -> None:
    """Refuse a folder that holds a run: the report's images.csv would replace the run's.

    Raises:
        ConfigError: naming the file of the run.
    """
    for name in ("metrics.json", layout.TABLE, layout.JOURNAL):
        if (folder / name).exists():
            raise ConfigError(f"'{folder}' holds {name} of a run; write the report into a folder of its own.")


def make_thumbnails(predictions: Predictions, order: Sequence[int]) -> Iterator[Thumbnail]:
    """Pictures of the images ``order`` at their places in it; an image without picture or map has none."""
    for place, number in enumerate(order):
        if not (predictions.has_image(number) and predictions.has_map(number)):
            continue
        case = predictions.cases[number]
        mask = truth_masks([case], predictions.eval_size)[0] if case.mask_path is not None else None
        boxes = [(box.x, box.y, box.width, box.height) for box in case.boxes]
        yield make_thumbnail(place, predictions.image(number), predictions.map(number), boxes, mask)
