"""The outer contour of a region of pixels as a closed polygon, in the image coordinates of DICOM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1.0
"""Pixels that a polygon may be off the pixels' edges: the steps of a slanted line, which no viewer shows, go."""

MOST_POINTS = 2000
"""Points of one polygon: GraphicData of explicit VR holds 8,191."""


def outer_contour(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Follow the outer edges of a connected region, along the edges of its pixels.

    Args:
        mask: [h, w], one 8-connected region.

    Returns:
        [N, 2], the corners as (column, row), clockwise as seen on screen, the first not repeated. As in PS3.3 C.10.5
        and C.18.6 the top left corner of the first pixel is (0, 0) and the bottom right corner of the last is (w, h):
        the polygon's area is the number of pixels within, holes counted.
    """
    width = mask.shape[1] + 2
    # A frame of background, as bytes: indexing an array pixel by pixel takes ten times as long.
    pixels = np.pad(mask, 1).astype(np.uint8).tobytes()
    start = pixels.index(1)
    # Of each direction (right, down, left, up): the step, and the pixels to the left and right ahead of a corner; a
    # corner has the number of the pixel to its lower right.
    steps = (1, width, -1, -width)
    left_ahead = (-width, 0, -1, -width - 1)
    right_ahead = (0, -1, -width - 1, -width)
    corners = [start]
    at, direction = start + 1, 0
    while at != start:
        if pixels[at + left_ahead[direction]]:
            turned = (direction - 1) % 4
        elif pixels[at + right_ahead[direction]]:
            turned = direction
        else:
            turned = (direction + 1) % 4
        if turned != direction:
            corners.append(at)
            direction = turned
        at += steps[direction]
    rows, columns = np.divmod(np.array(corners), width)
    return np.stack([columns - 1, rows - 1], axis=1).astype(np.float64)


def simplified(polygon: NDArray[np.float64], tolerance: float = TOLERANCE) -> NDArray[np.float64]:
    """The polygon with fewer points, none of the removed farther than the tolerance from what is left.

    Douglas and Peucker (1973), Cartographica 10(2), on the two halves of the polygon.

    Args:
        polygon: [N, 2], the first point not repeated.
        tolerance: in pixels; doubled until ``MOST_POINTS`` are enough.
    """
    while True:
        kept = _kept(polygon, tolerance)
        if len(kept) <= MOST_POINTS:
            return polygon[kept]
        tolerance *= 2


def _kept(polygon: NDArray[np.float64], tolerance: float) -> list[int]:
    number = len(polygon)
    closed = np.concatenate([polygon, polygon[:1]])
    middle = int(np.square(polygon - polygon[0]).sum(axis=1).argmax())
    kept, open_parts = {0, middle}, [(0, middle), (middle, number)]
    while open_parts:
        first, last = open_parts.pop()
        if last - first < 2:
            continue
        base, line = closed[first], closed[last] - closed[first]
        away = closed[first + 1 : last] - base
        length = float(np.hypot(*line))
        if length == 0:
            distances = np.hypot(away[:, 0], away[:, 1])
        else:
            # To the segment and not to its line: a part may fold back beyond its end.
            share = np.clip(away @ line / length**2, 0, 1)[:, None]
            distances = np.hypot(*(away - share * line).T)
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            split = first + 1 + farthest
            kept.add(split)
            open_parts += [(first, split), (split, last)]
    return sorted(kept)
