"""Looks at images before they are taken as normal: copies, images unlike the rest, patients that are not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vitad_med.data.case import Case
from vitad_med.data.packed import content_digest

FAR = 4.0
"""Robust standard deviations from the median beyond which an image is unlike the others."""
LEAST = 30
"""Images below which nothing can be said about what the others look like."""
THUMBNAIL = 16
"""Side of the small copies whose layout is compared."""
# The two outer percentiles have long tails among ordinary radiographs: they would name every saturated corner.
_COMPARED = ("intensity mean", "intensity standard deviation", "intensity median", "edge strength")
_TO_SIGMA = 1.4826  # a normal distribution's standard deviation over its median absolute deviation


def copies(cases: Sequence[Case]) -> NDArray[np.int64]:
    """Indices of images whose file has the content of an earlier one, in the order of ``case_id``.

    A file that occurs twice, perhaps under two patients, would count as two independent images.

    Raises:
        DataError: a file cannot be read.
    """
    seen: set[bytes] = set()
    repeated = []
    for index in sorted(range(len(cases)), key=lambda position: cases[position].case_id):
        digest = content_digest(cases[index].image_path)
        if digest in seen:
            repeated.append(index)
        seen.add(digest)
    return np.array(sorted(repeated), dtype=np.int64)


def unlike(
    intensities: Mapping[str, NDArray[np.float64]], thumbnails: NDArray[np.floating]
) -> dict[str, NDArray[np.int64]]:
    """Images that another device, an inversion or another body part may have made.

    An image is named when its mean, standard deviation, median or edge strength lies more than ``FAR`` robust standard
    deviations (1.4826 times the median absolute deviation) from the median of all, or when its layout correlates
    negatively with the mean layout of all, as that of a negative does. On the 256 normal test images of the
    ChestX-ray14 development set the largest distance is 2.6 and the lowest correlation .10; inverted copies have
    correlations below -.4. Sets of fewer than 30 images are not judged.

    Args:
        intensities: quantity -> float64 [N], see :func:`vitad_med.calibration.intensity.intensity_table`.
        thumbnails: [N, T, T], small copies of the images.

    Returns:
        What is unlike -> indices, int [k]; only what was found.
    """
    if len(thumbnails) < LEAST:
        return {}
    found = {}
    for name in _COMPARED:
        values = np.asarray(intensities[name])
        distance = np.abs(values - np.median(values))
        spread = _TO_SIGMA * float(np.median(distance))
        # Where more than half of the images share one value there is no scale to measure by.
        far = distance > FAR * spread if spread > 0 else np.zeros(len(values), dtype=bool)
        if far.any():
            found[name] = np.flatnonzero(far)
    opposite = np.flatnonzero(layout_correlation(thumbnails) < 0)
    if len(opposite):
        found["layout"] = opposite
    return found


def layout_correlation(thumbnails: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlation of each small copy with the mean of all, each of them standardised first.

    Args:
        thumbnails: [N, T, T].

    Returns:
        float64 [N], -1..1; 0 for an image of one grey value.
    """
    rows = np.asarray(thumbnails, dtype=np.float64).reshape(len(thumbnails), -1)
    rows = _standardised(rows)
    return rows @ _standardised(rows.mean(axis=0)[None])[0]


def _standardised(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)


def patients_known(cases: Sequence[Case]) -> bool:
    """False where every image is a patient of its own because nothing said otherwise."""
    return any(case.patient_id != case.case_id for case in cases)
