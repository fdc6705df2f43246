"""What the pixels of an image look like in a few numbers, to notice another scanner, exposure or conversion."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from vitad_med.data.image_io import resize
from vitad_med.errors import DataError
from vitad_med.evaluation.document import rounded

GRID = 112
"""Side in pixels at which larger images are compared."""

QUANTITIES = (
    "intensity mean",
    "intensity standard deviation",
    "intensity 1st percentile",
    "intensity median",
    "intensity 99th percentile",
    "edge strength",
)


def intensity_statistics(image: NDArray[np.floating]) -> dict[str, float]:
    """Six numbers of one image; none of them says where in the image anything is.

    An image of more than 112 pixels a side is resized to 112 x 112 first, so that runs on evaluation grids of 224 and
    of 448 pixels can be compared. ``edge strength`` is the mean absolute difference of neighbouring pixels, rows and
    columns alike: blur, compression and resizing change it where the histogram stays the same.

    Args:
        image: [S, S], grey, values 0..1.

    Returns:
        The keys of ``QUANTITIES`` in their order, values 0..1, rounded to six decimals as they are stored, so that the
        same image is the same in a calibration and in a run.

    Raises:
        DataError: not two-dimensional with two pixels a side, or a value that is not finite.
    """
    pixels = np.asarray(image, dtype=np.float64)
    if pixels.ndim != 2 or min(pixels.shape) < 2:
        raise DataError(f"intensity statistics need a grey image [S, S], not one of shape {list(pixels.shape)}.")
    if not np.isfinite(pixels).all():
        raise DataError("an image holds NaN or infinite pixels; read the file again, or leave it out.")
    if min(pixels.shape) > GRID:
        pixels = resize(pixels, GRID)
    low, middle, high = np.quantile(pixels, [0.01, 0.5, 0.99])
    edges = (np.abs(np.diff(pixels, axis=0)).mean() + np.abs(np.diff(pixels, axis=1)).mean()) / 2
    values = (pixels.mean(), pixels.std(), low, middle, high, edges)
    return {name: rounded(value) for name, value in zip(QUANTITIES, values, strict=True)}


def intensity_table(images: Iterable[NDArray[np.floating]]) -> dict[str, NDArray[np.float64]]:
    """:func:`intensity_statistics` of every image, one float64 vector [N] a quantity; one image in memory at a time."""
    rows = [intensity_statistics(image) for image in images]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in QUANTITIES}
