"""Reading ``boxes.csv``: where abnormal images are abnormal."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from vitad_med.data.case import Box
from vitad_med.errors import DataError
from vitad_med.predictions.fields import number
from vitad_med.predictions.layout import BOX_COLUMNS, BOX_REQUIRED
from vitad_med.predictions.table import Row, read_table

ROUNDING = 1e-9  # of sums of fractions; far below a pixel


def read_boxes(
    path: Path, labels: Mapping[str, int | None], pixel_of: Callable[[str], tuple[float, float]]
) -> dict[str, tuple[Box, ...]]:
    """Read the boxes of all images.

    Args:
        path: the table; boxes in fractions of the image.
        labels: of every image of the predictions; None where the table has none.
        pixel_of: (height, width) of a pixel of an image in fractions of it; a box may reach so far beyond the edge,
            and is cut there.

    Returns:
        Boxes by image, in the order of the table.

    Raises:
        DataError: an unknown or normal image, no number, pixels in place of fractions, a box outside the image or
            without area.
    """
    found: dict[str, tuple[Box, ...]] = {}
    _, rows = read_table(path, BOX_REQUIRED, BOX_COLUMNS)
    for row in rows:
        image = row["image"]
        if image.text not in labels:
            close = difflib.get_close_matches(image.text, labels, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "add the image, or take the box away"
            raise image.error(f"'{image.text}' is not in the table of predictions; {hint}")
        if labels[image.text] == 0:
            raise image.error(f"'{image.text}' is labelled normal but has a box; correct the label, or take it away")
        found[image.text] = (*found.get(image.text, ()), _box(row, *pixel_of(image.text)))
    return found


def _box(row: Row, pixel_height: float, pixel_width: float) -> Box:
    values = {name: number(row[name]) for name in ("x", "y", "width", "height")}
    for name, value in values.items():
        cell = row[name]
        if not math.isfinite(value):
            raise cell.error(f"'{cell.text}' is no finite number; write a fraction of the image")
        if value > 1 + max(pixel_height, pixel_width):
            raise cell.error(
                f"{value:g} is above 1, so it looks like pixels; divide x and width by the image's width, y and height "
                "by its height"
            )
        if name in ("width", "height") and value <= 0:
            raise cell.error(f"{value:g} leaves the box without area; a width and a height are above 0")
    x, width = _inside(row, "x", "width", values, pixel_width)
    y, height = _inside(row, "y", "height", values, pixel_height)
    return Box(x, y, width, height, row["finding"].text)


def _inside(
    row: Row, start_name: str, extent_name: str, values: Mapping[str, float], pixel: float
) -> tuple[float, float]:
    """Start and extent along one axis, cut at the image's edge where they pass it by no more than a pixel."""
    start, extent = values[start_name], values[extent_name]
    end = start + extent
    if start >= -ROUNDING and end <= 1 + ROUNDING:
        return start, extent
    low, high = max(start, 0.0), min(end, 1.0)
    if start < -pixel - ROUNDING or end > 1 + pixel + ROUNDING or high <= low:
        raise DataError(
            f"{row.path}, line {row.line}: the box reaches from {start:g} to {end:g} in {start_name}, outside the "
            f"image (0 to 1); correct '{start_name}' and '{extent_name}'."
        )
    return low, high - low
