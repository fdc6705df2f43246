"""Area under the per-region overlap curve (AUPRO), for pixel-exact masks.

Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129 (2021) 1038-1059: at each threshold, the overlap of the
thresholded map with each connected component of the truth, averaged over components, against the false-positive rate of
all pixels outside the truth; the area up to a rate of 0.3, divided by 0.3.

The curve is a mean over components and the area is linear in it, so once the false-positive rates are fixed, each
component has an area of its own and AUPRO is their mean. That gives cohorts and bootstrap replicates as weighted means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_maps, as_numpy, as_result, as_weights, require_finite
from vitad_med.metrics.regions import NEIGHBOURS

_REPLICATES = 256


@dataclass(frozen=True)
class AuproContributions:
    """What each image adds to AUPRO, given the false-positive rates of the whole set.

    Attributes:
        areas: float64 [N], sum over the components of an image of their areas under the overlap curve, each in 0..1.
        components: int64 [N], connected components of an image's mask.
    """

    areas: NDArray[np.float64]
    components: NDArray[np.int64]

    def aupro(self, weights: ArrayLike | None = None) -> float | NDArray[np.float64]:
        """Weighted mean over components, for the whole set, a cohort or bootstrap replicates.

        The false-positive rates stay those of the whole set: a cohort is read at the thresholds at which the whole
        set has a rate, and an interval covers the choice of components, not of normal pixels, which are far more.

        Args:
            weights: how often each image occurs, [N] or [R, N]; zeros and ones choose a cohort; each once if omitted.

        Returns:
            A float, or float64 [R] for weights [R, N]; NaN where no component has weight, or no rate exists.

        Raises:
            DataError: weights negative, not finite or of the wrong shape.
        """
        images = len(self.components)
        blocks = np.atleast_2d(np.ones(images) if weights is None else np.asarray(weights))
        values = np.full(len(blocks), np.nan)
        for start in range(0, len(blocks), _REPLICATES):
            w = as_weights(blocks[start : start + _REPLICATES], images)
            total = w @ self.components
            part = values[start : start + _REPLICATES]
            np.divide(w @ self.areas, total, out=part, where=total > 0)
        return as_result(values, weights)


def aupro(
    maps: ArrayLike | torch.Tensor,
    masks: ArrayLike | torch.Tensor,
    max_fpr: float = 0.3,
    thresholds: int | None = None,
) -> float:
    """AUPRO over the full distribution of scores, or the coarse version for comparison.

    Arguments and errors as in :func:`aupro_contributions`, whose mean over components this is.

    Returns:
        AUPRO in 0..1; NaN when no mask has a component, no pixel lies outside of masks, or (coarse version) fewer than
        two thresholds lie below max_fpr.
    """
    return float(aupro_contributions(maps, masks, max_fpr, thresholds).aupro())


def aupro_contributions(
    maps: ArrayLike | torch.Tensor,
    masks: ArrayLike | torch.Tensor,
    max_fpr: float = 0.3,
    thresholds: int | None = None,
) -> AuproContributions:
    """Areas under the overlap curve by image.

    No curve over thresholds is needed: a pixel that reaches its threshold at false-positive rate f adds
    (max_fpr - f) / (pixels of its component). Ties become straight lines (trapezoids), also at max_fpr. Beside the
    maps it takes a sorted copy of the pixels outside the truth and about 50 bytes for each pixel inside.

    Args:
        maps: real array [N, H, W], finite, higher is more abnormal; may be memory-mapped.
        masks: bool or 0/1 array [N, H, W]; images with an empty mask give false positives only.
        max_fpr: upper end of the false-positive rate, in (0, 1].
        thresholds: None for the full distribution. A number, usually 100, takes that many equal steps from the lowest
            to the highest score, keeps the points below max_fpr and rescales their rates to end at 1, as much published
            code does; that reads lower.

    Returns:
        The contributions; areas are NaN when no pixel lies outside of masks or (coarse version) fewer than two
        thresholds lie below max_fpr.

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
    for number, image in enumerate(m):
        require_finite(np.asarray(image), f"map {number}")
    regions = [list(_regions(image, mask)) for image, mask in zip(m, inside.reshape(m.shape), strict=True)]
    components = np.array([len(image) for image in regions], dtype=np.int64)
    normal = _outside(flat, inside)
    if not normal.size or not components.sum():
        return AuproContributions(np.where(components > 0, np.nan, 0.0), components)
    parts = [part for image in regions for part in image]
    if thresholds is None:
        areas = _full(parts, normal, max_fpr)
    else:
        areas = _coarse(parts, normal, max_fpr, np.linspace(flat.min(), flat.max(), thresholds))
    owners = np.repeat(np.arange(len(m)), components)
    sums = np.bincount(owners, weights=areas, minlength=len(m)).astype(np.float64)
    return AuproContributions(sums, components)


def _outside(flat: NDArray, inside: NDArray[np.bool_]) -> NDArray:
    """The sorted values outside the truth; filled image by image, so that they exist once."""
    normal = np.empty(inside.size - np.count_nonzero(inside), dtype=flat.dtype)
    start = 0
    for values, mask in zip(flat, inside, strict=True):
        part = values[~mask]
        normal[start : start + len(part)] = part
        start += len(part)
    normal.sort()
    return normal


def _full(parts: list[NDArray], normal: NDArray, max_fpr: float) -> NDArray[np.float64]:
    """Area of each component over the full distribution of scores."""
    scores = np.concatenate(parts)
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    # Looking sorted values up in a sorted array walks through it once.
    order = np.argsort(scores, kind="stable")
    scores, owners = scores[order], owners[order]
    # The rate rises from `above` to `reached` as the threshold passes the score of the pixel.
    above = 1 - np.searchsorted(normal, scores, "right") / normal.size
    reached = 1 - np.searchsorted(normal, scores, "left") / normal.size
    width = np.maximum(reached - above, np.finfo(float).tiny)
    whole = max_fpr - (above + reached) / 2
    cut = np.maximum(max_fpr - above, 0.0) ** 2 / (2 * width)
    gains = np.where(reached <= max_fpr, whole, cut)
    return np.bincount(owners, weights=gains) / np.bincount(owners) / max_fpr


def _regions(image: NDArray, mask: NDArray[np.bool_]) -> Iterator[NDArray]:
    """Yield the scores inside each connected component; labelling looks at the bounding box of the mask only."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    labels, number = ndimage.label(mask[box], structure=NEIGHBOURS)
    values = np.asarray(image[box])
    for component, part in enumerate(ndimage.find_objects(labels, number), start=1):
        yield values[part][labels[part] == component]


def _coarse(parts: list[NDArray], normal: NDArray, max_fpr: float, thresholds: NDArray) -> NDArray[np.float64]:
    """Area of each component over the given thresholds; NaN when fewer than two lie below max_fpr."""
    rates = 1 - np.searchsorted(normal, thresholds, "left") / normal.size
    kept = rates < max_fpr
    if np.count_nonzero(kept) < 2 or not rates[kept].max():
        return np.full(len(parts), np.nan)
    x = rates[kept][::-1] / rates[kept].max()
    overlaps = [1 - np.searchsorted(np.sort(part), thresholds[kept][::-1], "left") / len(part) for part in parts]
    return np.trapezoid(np.stack(overlaps), x, axis=1)
