"""Where in a flagged image the map is highest: regions at the radiograph's own geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vitad_med.data.image_io import resize
from vitad_med.errors import ConfigError, DataError
from vitad_med.findings.contour import outer_contour, simplified

REGION_SHARE = 0.05
"""Share of an image's pixels that its regions take together."""

LEAST_SHARE = 0.0005
"""Share of the picture below which a region is a speck and dropped: 10 mm by 10 mm of a detector of 43 cm."""

_NEIGHBOURS = np.ones((3, 3), dtype=bool)  # diagonal neighbours are of one region, as in the metrics


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One connected region.

    Attributes:
        box: (top, bottom, left, right) in pixels of the radiograph, half-open.
        mask: which pixels of the box are the region's, bool [bottom - top, right - left].
        polygon: its outer contour, float64 [N, 2] of (column, row), closed: the last point repeats the first. The top
            left corner of the first pixel is (0, 0) (PS3.3 C.10.5, C.18.6); within a pixel of the mask's edges.
        peak: the highest value of the map within.
        area: number of its pixels.
    """

    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]
    polygon: NDArray[np.float64]
    peak: float
    area: int


def original_geometry(grid: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """The map on the pixels of the radiograph: the inverse of the resizing to the network's grid.

    Args:
        grid: [h, w], shows the whole radiograph.
        shape: rows and columns of the radiograph.

    Raises:
        DataError: the map has other dimensions, or values that are no numbers.
    """
    if grid.ndim != 2 or not grid.size or not np.isfinite(grid).all():
        raise DataError("the map is no array [h, w] of finite numbers, so nothing can be drawn or outlined")
    return np.ascontiguousarray(resize(np.ascontiguousarray(grid, dtype=np.float32), shape))


def find_regions(values: NDArray[np.float32], share: float = REGION_SHARE) -> list[Region]:
    """Connected components of the highest values; needs neither labels nor other images.

    Values equal to the highest one left out are left out too, so that no more than the share is taken; only if that
    leaves nothing, all pixels of the highest value are taken. Components smaller than ``LEAST_SHARE`` of the picture
    are dropped; only if all are, the one with the peak stays, so that an image which is not flat always has a region.

    Args:
        values: the map at the radiograph's geometry, [H, W].
        share: of the pixels, 0..1, neither end.

    Returns:
        Regions, the highest peak first; none for a constant map.

    Raises:
        ConfigError: a share out of its range.
    """
    if not 0 < share < 1:
        raise ConfigError(
            f"region_share {share:g} is not between 0 and 1: 0.05 takes the highest twentieth of each image"
        )
    low, high = float(values.min()), float(values.max())
    if low == high:
        return []
    limit = _highest_left_out(values, share)
    marked = values > limit if limit < high else values >= high
    found = _components(values, marked)
    large = [one for one in found if one[2] >= LEAST_SHARE * values.size]
    kept = large or [max(found, key=lambda one: one[3])]
    return [_region(*one) for one in sorted(kept, key=lambda one: (-one[3], one[0][0].start, one[0][1].start))]


Slices = tuple[slice, slice]


def _highest_left_out(values: NDArray[np.float32], share: float) -> float:
    """The greatest value that is not among the highest ``floor(share * size)``."""
    taken = int(share * values.size)
    flat = values.reshape(-1)
    # A sample tells roughly where the limit lies; only what is above that needs to be sorted.
    sample = np.sort(flat[:: max(1, flat.size // 4096)])
    upper = flat[flat >= sample[int(max(0.0, 1 - 2 * share) * (len(sample) - 1))]]
    if len(upper) <= taken:
        upper = flat
    place = len(upper) - taken - 1
    return float(np.partition(upper, place)[place])


def _components(
    values: NDArray[np.float32], marked: NDArray[np.bool_]
) -> list[tuple[Slices, NDArray[np.bool_], int, float]]:
    """Of each component: its bounding box, mask in the box, number of pixels, peak."""
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    labels, _ = ndimage.label(marked[top : rows[-1] + 1, left : columns[-1] + 1], structure=_NEIGHBOURS)
    found = []
    for number, (down, across) in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[down, across] == number
        place = slice(down.start + top, down.stop + top), slice(across.start + left, across.stop + left)
        found.append((place, mask, int(mask.sum()), float(values[place][mask].max())))
    return found


def _region(place: Slices, mask: NDArray[np.bool_], area: int, peak: float) -> Region:
    down, across = place
    corners = simplified(outer_contour(mask)) + np.array([across.start, down.start])
    return Region(
        box=(down.start, down.stop, across.start, across.stop),
        mask=mask,
        polygon=np.concatenate([corners, corners[:1]]),
        peak=peak,
        area=area,
    )
