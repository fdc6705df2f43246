"""Area under the per-region overlap curve (AUPRO), for pixel-exact masks.

Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129 (2021) 1038-1059: at each threshold, the overlap of the
thresholded map with each connected component of the truth, averaged over components, against the false-positive rate of
all pixels outside the truth; the area up to a rate of 0.3, divided by 0.3.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_maps, as_numpy, require_finite

# Diagonal neighbours belong to one component, as in the MVTec evaluation code.
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def aupro(
    maps: ArrayLike | torch.Tensor,
    masks: ArrayLike | torch.Tensor,
    max_fpr: float = 0.3,
    thresholds: int | None = None,
) -> float:
    """AUPRO over the full distribution of scores, or the coarse version for comparison.

    The overlap curve is a mean over components, and the area is linear in it, so the area is a sum over the pixels
    inside components: a pixel that reaches its threshold at false-positive rate f adds (max_fpr - f) / (pixels of its
    component). No curve over thresholds is needed. Ties become straight lines (trapezoids), also at max_fpr.

    Args:
        maps: real array [N, H, W], finite, higher is more abnormal.
        masks: bool or 0/1 array [N, H, W]; images with an empty mask give false positives only.
        max_fpr: upper end of the false-positive rate, in (0, 1].
        thresholds: None for the full distribution. A number, usually 100, takes that many equal steps from the lowest
            to the highest score, keeps the points below max_fpr and rescales their rates to end at 1, as much published
            code does; that reads lower.

    Returns:
        AUPRO in 0..1; NaN when no mask has a component, no pixel lies outside of masks, or (coarse version) fewer than
        two thresholds lie below max_fpr.

    Raises:
        DataError: shapes differ, masks are not binary, max_fpr is out of range, or a map value is not finite.
    """
    if not 0 < max_fpr <= 1:
        raise DataError(f"max_fpr {max_fpr} must lie in (0, 1], e.g. 0.3.")
    if thresholds is not None and thresholds < 2:
        raise DataError(f"thresholds = {thresholds} must be at least 2, or None for the full distribution.")
    m, truth = as_numpy(maps), as_numpy(masks)
    if m.ndim != 3:
        raise DataError(f"maps {list(m.shape)} must have shape [N, H, W].")
    flat, inside = as_maps(m, truth)
    require_finite(m, "maps")
    regions = list(_regions(m, inside.reshape(m.shape)))
    normal = np.sort(flat[~inside])
    if not regions or not normal.size:
        return float("nan")
    if thresholds is not None:
        return _coarse(regions, normal, max_fpr, np.linspace(flat.min(), flat.max(), thresholds))
    scores = np.concatenate(regions)
    shares = np.concatenate([np.full(len(region), 1 / (len(region) * len(regions))) for region in regions])
    order = np.argsort(scores)
    scores, shares = scores[order], shares[order]
    # The rate rises from `above` to `reached` as the threshold passes the score of the pixel.
    above = 1 - np.searchsorted(normal, scores, "right") / normal.size
    reached = 1 - np.searchsorted(normal, scores, "left") / normal.size
    width = np.maximum(reached - above, np.finfo(float).tiny)
    whole = max_fpr - (above + reached) / 2
    cut = np.maximum(max_fpr - above, 0.0) ** 2 / (2 * width)
    return float(np.sum(shares * np.where(reached <= max_fpr, whole, cut)) / max_fpr)


def _regions(maps: NDArray, masks: NDArray[np.bool_]) -> Iterator[NDArray]:
    """Yield the scores inside each connected component; labelling looks at the bounding box of the mask only."""
    for image, mask in zip(maps, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            continue
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        labels, number = ndimage.label(mask[box], structure=_NEIGHBOURS)
        values = image[box]
        for component, part in enumerate(ndimage.find_objects(labels, number), start=1):
            yield values[part][labels[part] == component]


def _coarse(regions: list[NDArray], normal: NDArray, max_fpr: float, thresholds: NDArray) -> float:
    rates = 1 - np.searchsorted(normal, thresholds, "left") / normal.size
    overlaps = np.mean(
        [1 - np.searchsorted(np.sort(region), thresholds, "left") / len(region) for region in regions], axis=0
    )
    kept = rates < max_fpr
    if np.count_nonzero(kept) < 2 or not rates[kept].max():
        return float("nan")
    x, y = rates[kept][::-1], overlaps[kept][::-1]
    return float(np.trapezoid(y, x / x.max()))
