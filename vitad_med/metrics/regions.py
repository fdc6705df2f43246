"""Connected components and rectangles on the pixel grid, shared by the localization metrics.

Diagonal neighbours belong to one component (8-connectivity), as in the MVTec AD evaluation code.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from vitad_med.errors import DataError

NEIGHBOURS = np.ones((3, 3), dtype=bool)
"""Structuring element of 8-connectivity."""


def mask_regions(mask: ArrayLike) -> NDArray[np.bool_]:
    """Separate a mask into its connected components.

    Args:
        mask: bool or 0/1 array [H, W].

    Returns:
        bool [K, H, W], one component each, in the order of their first pixels row by row; K is 0 for an empty mask.

    Raises:
        DataError: the mask is not [H, W].
    """
    truth = np.asarray(mask)
    if truth.ndim != 2:
        raise DataError(f"mask {list(truth.shape)} must have shape [H, W].")
    labels, number = ndimage.label(truth, structure=NEIGHBOURS)
    return labels == np.arange(1, number + 1)[:, None, None]


def grid_rectangle(x: float, y: float, width: float, height: float, size: int) -> tuple[int, int, int, int]:
    """The pixels of a [size, size] grid that a box covers: those whose centres lie in it.

    Args:
        x, y, width, height: the box in fractions of the image; parts outside of the image are cut off.
        size: side of the grid.

    Returns:
        (y0, y1, x0, x1), half-open. A box so thin that it holds no centre takes the pixel row or column in which its
        own centre lies, so that it can still be found.

    Raises:
        DataError: the box has no area or lies outside of the image.
    """
    y0, y1 = _span(y, height, size)
    x0, x1 = _span(x, width, size)
    return y0, y1, x0, x1


def covered_by_bounding_boxes(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Union of the bounding boxes of the connected components of ``marked`` [H, W], bool [H, W]."""
    labels, number = ndimage.label(marked, structure=NEIGHBOURS)
    if not number:
        return np.zeros(marked.shape, dtype=bool)
    # Per component; with thousands of them a list of slices would take most of the time.
    rows, columns = np.nonzero(labels)
    owners = labels[rows, columns] - 1
    spans = np.empty((number, 4), dtype=np.int64)
    for column, values in ((0, rows), (2, columns)):
        spans[:, column] = max(labels.shape)
        np.minimum.at(spans[:, column], owners, values)
        spans[:, column + 1] = 0
        np.maximum.at(spans[:, column + 1], owners, values + 1)
    # Each rectangle adds one between its corners once the signed corners are summed along both axes.
    corners = np.zeros((marked.shape[0] + 1, marked.shape[1] + 1), dtype=np.int32)
    for row, column, sign in ((0, 2, 1), (1, 3, 1), (0, 3, -1), (1, 2, -1)):
        np.add.at(corners, (spans[:, row], spans[:, column]), sign)
    return corners.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0


def _span(start: float, length: float, size: int) -> tuple[int, int]:
    low, high = max(start, 0.0), min(start + length, 1.0)
    if not (math.isfinite(start) and math.isfinite(length) and low < high):
        raise DataError(
            f"a box that starts at {start:g} with extent {length:g} covers nothing of the image 0..1; "
            "give x, y, width and height in fractions of the image."
        )
    centres = (np.arange(size) + 0.5) / size
    # The same comparisons as the rasteriser of boxes, so that both mark the same pixels.
    inside = np.flatnonzero((centres >= start) & (centres < start + length))
    if inside.size:
        return int(inside[0]), int(inside[-1]) + 1
    pixel = min(int((low + high) / 2 * size), size - 1)
    return pixel, pixel + 1
