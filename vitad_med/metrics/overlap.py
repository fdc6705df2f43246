"""Overlap of thresholded maps with the truth, image by image: IoU and IoBB.

IoU is the intersection of {map >= t} with the truth over their union, in pixels.

IoBB is the intersection over the *detected bounding box* area (Wang et al., ChestX-ray8, CVPR 2017, section 4.2):
bounding boxes are drawn around the isolated regions of the thresholded map, and IoBB is the share of their area that
lies in the truth, a purity. An image with several regions has several boxes; here the detected area is the union of
all boxes, so that an image has one figure and no box can be left out. Nothing about the truth's size enters: a small
detection inside a large box has IoBB 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_maps, require_finite
from vitad_med.metrics.regions import covered_by_bounding_boxes


@dataclass(frozen=True)
class Overlaps:
    """Overlap of every image at every threshold.

    Attributes:
        iou: float64 [T, N] in 0..1.
        iobb: float64 [T, N] in 0..1.
    """

    iou: NDArray[np.float64]
    iobb: NDArray[np.float64]


def overlaps(maps: Iterable[ArrayLike], masks: Iterable[ArrayLike], thresholds: Sequence[float]) -> Overlaps:
    """IoU and IoBB in one pass over the maps.

    A map that reaches its threshold nowhere detects nothing and scores 0 in both. Thresholds come from normal images
    (:func:`vitad_med.metrics.pixel_threshold.pixel_thresholds`).

    Args:
        maps: N real arrays [H, W], finite; any iterable, read once.
        masks: N bool or 0/1 arrays [H, W].
        thresholds: T values; a NaN means that there is no threshold.

    Returns:
        The figures; NaN for an image without truth and where the threshold is NaN.

    Raises:
        DataError: numbers or shapes of maps and masks differ, masks are not binary, or a map value is not finite.
    """
    rows: list[list[tuple[float, float]]] = []
    for number, (image, mask) in enumerate(zip_longest(maps, masks)):
        if image is None or mask is None:
            raise DataError(
                f"there are more {'masks' if image is None else 'maps'} than {number}; give one mask a map."
            )
        values, truth = np.asarray(image), np.asarray(mask)
        if values.ndim != 2:
            raise DataError(f"map {number} {list(values.shape)} must have shape [H, W].")
        inside = as_maps(values[None], truth[None])[1].reshape(truth.shape)
        require_finite(values, f"map {number}")
        rows.append([_overlap(values, inside, threshold) for threshold in thresholds])
    figures = np.array(rows, dtype=np.float64).reshape(len(rows), len(thresholds), 2)
    return Overlaps(iou=figures[..., 0].T.copy(), iobb=figures[..., 1].T.copy())


def _overlap(values: NDArray, inside: NDArray[np.bool_], threshold: float) -> tuple[float, float]:
    if np.isnan(threshold) or not inside.any():
        return np.nan, np.nan
    marked = values >= threshold
    if not marked.any():
        return 0.0, 0.0
    boxes = covered_by_bounding_boxes(marked)
    iou = np.count_nonzero(marked & inside) / np.count_nonzero(marked | inside)
    return iou, np.count_nonzero(boxes & inside) / np.count_nonzero(boxes)
