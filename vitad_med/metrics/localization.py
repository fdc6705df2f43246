"""Localization image by image: pointing game and AUROC within an image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vitad_med.metrics.checks import as_maps, as_result, as_weights, require_finite


def pointing_hits(maps: ArrayLike | torch.Tensor, masks: ArrayLike | torch.Tensor) -> NDArray[np.float64]:
    """Pointing game (Zhang et al., IJCV 2018, without a tolerance): does the highest pixel lie in the truth?

    Args:
        maps: real array [N, H, W], finite.
        masks: bool or 0/1 array [N, H, W].

    Returns:
        float64 [N] in 0..1: the fraction of the pixels tied for the highest value that lie in the truth, which is what
        a random choice among them scores on average; a constant map scores the truth's share of the image.

    Raises:
        DataError: shapes differ, masks are not binary, or a map value is not finite.
    """
    m, truth = as_maps(maps, masks)
    hits = np.empty(len(m))
    for number, inside in enumerate(truth):
        values = np.asarray(m[number])
        require_finite(values, f"map {number}")
        hits[number] = inside[values == values.max()].mean()
    return hits


def image_aurocs(maps: ArrayLike | torch.Tensor, masks: ArrayLike | torch.Tensor) -> NDArray[np.float64]:
    """Pixel AUROC inside each image, ties one half.

    Arguments and errors as in :func:`pointing_hits`.

    Returns:
        float64 [N]; NaN for an image whose truth is empty or covers it.
    """
    m, truth = as_maps(maps, masks)
    values = np.full(len(m), np.nan)
    for number, inside in enumerate(truth):
        image = np.asarray(m[number])
        require_finite(image, f"map {number}")
        pos, neg = np.sort(image[inside]), image[~inside]
        if pos.size and neg.size:
            # Looking all negatives up among the few positives would cost more than sorting both.
            neg = np.sort(neg)
            doubled = np.searchsorted(neg, pos, "left").sum() + np.searchsorted(neg, pos, "right").sum()
            values[number] = doubled / (2 * pos.size * neg.size)
    return values


def mean_image_auroc(
    maps: ArrayLike | torch.Tensor, masks: ArrayLike | torch.Tensor, weights: ArrayLike | None = None
) -> float | NDArray[np.float64]:
    """Mean of :func:`image_aurocs` over the images where it exists; weights as in :func:`weighted_mean`."""
    return weighted_mean(image_aurocs(maps, masks), weights)


def weighted_mean(values: ArrayLike, weights: ArrayLike | None = None) -> float | NDArray[np.float64]:
    """Mean over images of a per-image figure, for the whole cohort or its bootstrap replicates.

    Args:
        values: [N]; NaN marks an image where the figure does not exist and is left out.
        weights: how often each image occurs, [N] or [R, N]; each once if omitted.

    Returns:
        A float, or float64 [R] for weights [R, N]; NaN where nothing is left.
    """
    v = np.asarray(values, dtype=np.float64)
    w = as_weights(np.ones(len(v)) if weights is None else weights, len(v))[:, np.isfinite(v)]
    total = w.sum(axis=1)
    means = np.divide(w @ v[np.isfinite(v)], total, out=np.full(len(w), np.nan), where=total > 0)
    return as_result(means, weights)
