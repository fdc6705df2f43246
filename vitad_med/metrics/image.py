"""Image-level AUROC and average precision, for a cohort and for the replicates of a bootstrap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_binary, as_result, as_scores, as_weights
from vitad_med.metrics.counts import auroc_from_counts, average_precision_from_counts
from vitad_med.metrics.metadata import age_band, metadata_null, view_age_strata

__all__ = [
    "age_band",
    "image_auroc",
    "image_average_precision",
    "metadata_null",
    "stratified_auroc",
    "view_age_strata",
]

_CELLS = 1 << 22


def image_auroc(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float | NDArray[np.float64]:
    """AUROC of image scores, ties one half.

    Args:
        scores: [N], finite, higher is more abnormal.
        labels: 0 normal or 1 abnormal, [N].
        weights: how often each image occurs, [N] or [R, N]; each once if omitted.

    Returns:
        A float, or float64 [R] for weights [R, N]; NaN where a class is empty.

    Raises:
        DataError: lengths differ, scores are not finite, labels are not binary, or weights are negative.
    """
    levels = _Levels(scores, labels)
    values = np.concatenate([auroc_from_counts(p, n) for p, n in levels.counts(weights)])
    return as_result(values, weights)


def image_average_precision(
    scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None
) -> float | NDArray[np.float64]:
    """Average precision of image scores; arguments, shapes and errors as in :func:`image_auroc`."""
    levels = _Levels(scores, labels)
    values = np.concatenate([average_precision_from_counts(p, n) for p, n in levels.counts(weights)])
    return as_result(values, weights)


def stratified_auroc(
    scores: ArrayLike, labels: ArrayLike, strata: ArrayLike, weights: ArrayLike | None = None
) -> float | NDArray[np.float64]:
    """AUROC over pairs of an abnormal and a normal image of the same stratum, ties one half.

    The figure is sum_s U_s / sum_s P_s N_s; what separates the classes only by the make-up of the strata does not
    enter.

    Args:
        strata: label of each image, [N], e.g. :func:`view_age_strata`; the rest as in :func:`image_auroc`.

    Returns:
        A float, or float64 [R]; NaN where no stratum holds both classes.
    """
    s = as_scores(scores)
    y = as_binary(labels, len(s))
    names, of_image = np.unique(np.asarray(strata).ravel(), return_inverse=True)
    if len(of_image) != len(s):
        raise DataError(f"{len(of_image)} strata for {len(s)} scores; give one stratum to each image.")
    w = as_weights(np.ones(len(s)) if weights is None else weights, len(s))
    wins, pairs = np.zeros(len(w)), np.zeros(len(w))
    for stratum in range(len(names)):
        inside = of_image == stratum
        p, n = w[:, inside & y].sum(axis=1), w[:, inside & ~y].sum(axis=1)
        if p.any() and n.any():
            within = np.asarray(image_auroc(s[inside], y[inside], w[:, inside]))
            wins += np.where(p * n > 0, np.nan_to_num(within) * p * n, 0.0)
            pairs += p * n
    values = np.divide(wins, pairs, out=np.full(len(w), np.nan), where=pairs > 0)
    return as_result(values, weights)


class _Levels:
    """Images sorted by score once; each distinct score is one bin of counts."""

    def __init__(self, scores: ArrayLike, labels: ArrayLike) -> None:
        s = as_scores(scores)
        if not s.size:
            raise DataError("an image metric needs at least one score; the cohort is empty.")
        self.order = np.argsort(s)
        self.labels = as_binary(labels, len(s))[self.order]
        ordered = s[self.order]
        self.first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))

    def counts(self, weights: ArrayLike | None) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Yield weighted counts of positives and negatives at each level, [replicates of a block, levels]."""
        images = len(self.order)
        w = as_weights(np.ones(images) if weights is None else weights, images)
        rows = max(1, _CELLS // images)
        for start in range(0, len(w), rows):
            block = w[start : start + rows, self.order]
            positive = np.add.reduceat(block * self.labels, self.first, axis=1)
            yield positive, np.add.reduceat(block, self.first, axis=1) - positive
