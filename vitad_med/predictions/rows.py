"""From the lines of ``predictions.csv`` and ``boxes.csv`` to cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vitad_med.data.case import UNKNOWN, Case
from vitad_med.errors import DataError
from vitad_med.predictions import fields, layout
from vitad_med.predictions.boxes import read_boxes
from vitad_med.predictions.maps import picture_size
from vitad_med.predictions.places import Places
from vitad_med.predictions.stored_files import check_inside
from vitad_med.predictions.table import Cell, Row, read_table

SOURCE = "table"  # of rows that name none


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: its record, its score as it is written, and the files that belong to it."""

    row: Row
    case: Case
    score: float
    map_file: Path | None
    image_file: Path | None


def read_entries(places: Places, source: str | None, eval_size: int) -> tuple[list[Entry], list[str]]:
    """Read both tables.

    Args:
        places: where they and the files lie.
        source: of rows that name none.
        eval_size: side of the grid, whose pixel is the rounding of boxes where there is no picture.

    Returns:
        One entry a line in the table's order, and sentences about what was assumed.

    Raises:
        DataError: names the file, line and column and the remedy.
    """
    names, rows = read_table(places.table, layout.REQUIRED, layout.COLUMNS)
    if not rows:
        raise DataError(f"{places.table} has a header and no line below it; write one line for each image.")
    axes = [name for name in names if name not in layout.COLUMNS]
    for name in axes:
        fields.check_axis_name(Cell(places.table, 1, name, name))
    _check_images(rows)
    labels = {row["image"].text: fields.label(row["label"]) if "label" in names else None for row in rows}
    entries = [_entry(row, places, axes, source or SOURCE) for row in rows]

    files = {entry.case.case_id: entry.image_file for entry in entries}

    def pixel_of(image: str) -> tuple[float, float]:
        file = files[image]
        height, width = (eval_size, eval_size) if file is None else picture_size(file)
        return 1 / height, 1 / width

    boxes = {} if places.boxes is None else read_boxes(places.boxes, labels, pixel_of)
    entries = [
        replace(entry, case=_labelled(replace(entry.case, boxes=boxes.get(name, ())), labels[name]))
        for entry, name in zip(entries, labels, strict=True)
    ]
    _check_truth(entries, places)
    return entries, _notes(entries, places, "label" in names)


def _entry(row: Row, places: Places, axes: Sequence[str], source: str) -> Entry:
    image = row["image"]
    picture = places.images.find(image, row["image_file"])
    return Entry(
        row,
        Case(
            case_id=image.text,
            patient_id=row["patient"].text or image.text,
            image_path=picture or places.table.parent / layout.IMAGES / image.text,
            source=row["source"].text or source,
            split=fields.split(row["split"]),
            label=0,
            sex=fields.sex(row["sex"]),
            view=fields.view(row["view"]),
            age=fields.age(row["age"]),
            findings=fields.findings(row["findings"]),
            mask_path=places.masks.find(image, row["mask"]),
            group=row["group"].text,
            columns=tuple((name, row[name].text or UNKNOWN) for name in axes),
        ),
        fields.number(row["score"]),
        places.maps.find(image, row["map"]),
        picture,
    )


def _labelled(case: Case, label: int | None) -> Case:
    if label is None:
        label = int(case.localized or bool(case.findings))
    return replace(case, label=label)


def _check_images(rows: Sequence[Row]) -> None:
    first: dict[str, int] = {}
    for row in rows:
        image = row["image"]
        if not image.text:
            raise image.error("the image has no name; name it as its files are named")
        check_inside(image)
        if image.text in first:
            raise image.error(f"'{image.text}' stands in line {first[image.text]} already; give every image once")
        first[image.text] = row.line


def _check_truth(entries: Sequence[Entry], places: Places) -> None:
    for entry in entries:
        case, image = entry.case, entry.row["image"]
        if case.label == 0 and case.mask_path is not None:
            raise image.error(f"'{image.text}' is labelled normal but has a mask; correct the label, or take it away")
        if case.localized and entry.map_file is None and places.maps.root is not None:
            raise image.error(
                f"'{image.text}' has a box or mask but no map in {places.maps.root}; add {image.text}.npy, or name its "
                "file in a column 'map'"
            )


def _notes(entries: Sequence[Entry], places: Places, labelled: bool) -> list[str]:
    notes = []
    if not labelled:
        notes.append("The table has no labels: images without a box, a mask or a finding are taken as normal.")
    for what, missing in (
        ("map", sum(entry.map_file is None for entry in entries)),
        ("picture", sum(entry.image_file is None for entry in entries)),
    ):
        if missing:
            notes.append(f"{missing} of {len(entries)} images have no {what}.")
    for what, folder in (("map", places.maps), ("picture", places.images), ("mask", places.masks)):
        if folder.unused:
            notes.append(f"{folder.unused} {what} files belong to no image of the table and are not used.")
    return notes
