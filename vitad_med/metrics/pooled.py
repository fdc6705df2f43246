"""Pooled pixel AUROC and average precision: all pixels of all images in one list, as papers report them.

The value itself comes from sorting. Bootstrap replicates reweight images, so they use one histogram per image over
bins that hold about the same number of pixels each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vitad_med.metrics.checks import as_maps, as_result, as_weights, require_finite
from vitad_med.metrics.counts import (
    auroc_bound,
    auroc_from_counts,
    average_precision_bound,
    average_precision_from_counts,
)
from vitad_med.metrics.exact import exact_auroc, exact_auroc_and_average_precision, exact_average_precision

_SAMPLE = 1 << 20
_IMAGES = 2048
_REPLICATES = 512

CountsFunction = Callable[[NDArray, NDArray], NDArray[np.float64]]


def pixel_auroc(maps: ArrayLike | torch.Tensor, masks: ArrayLike | torch.Tensor) -> float:
    """Exact pooled AUROC of maps [N, H, W] against masks [N, H, W]; NaN without both classes, DataError on NaN."""
    m, truth = as_maps(maps, masks)
    return exact_auroc(m[truth], m[~truth])


def pixel_auroc_and_average_precision(
    maps: ArrayLike | torch.Tensor, masks: ArrayLike | torch.Tensor
) -> tuple[float, float]:
    """Both figures from one sort; arguments and errors as in :func:`pixel_auroc`."""
    m, truth = as_maps(maps, masks)
    return exact_auroc_and_average_precision(m[truth], m[~truth])


def pixel_average_precision(maps: ArrayLike | torch.Tensor, masks: ArrayLike | torch.Tensor) -> float:
    """Exact pooled average precision of maps [N, H, W] against masks [N, H, W]; NaN without positives."""
    m, truth = as_maps(maps, masks)
    return exact_average_precision(m[truth], m[~truth])


@dataclass(frozen=True)
class PooledHistograms:
    """Per-image histograms over quantile bins of the pooled values.

    Attributes:
        positives: int32 [N, B], pixels inside the truth.
        negatives: int32 [N, B], pixels outside.
        edges: [B - 1] increasing values; bin b holds edges[b - 1] <= value < edges[b].
    """

    positives: NDArray[np.int32]
    negatives: NDArray[np.int32]
    edges: NDArray

    @classmethod
    def build(
        cls,
        maps: ArrayLike | torch.Tensor,
        masks: ArrayLike | torch.Tensor,
        bins: int = 1024,
        ignore: ArrayLike | torch.Tensor | None = None,
    ) -> PooledHistograms:
        """Count the pixels of each image.

        Args:
            maps: real array [N, H, W], finite; may be memory-mapped, images are read one at a time.
            masks: bool or 0/1 array [N, H, W]; an image without positives contributes negatives only.
            bins: wanted number of bins; maps with many equal values get fewer.
            ignore: bool or 0/1 array [N, H, W] of pixels to leave out.

        Raises:
            DataError: shapes differ, masks are not binary, or a map value is not finite.
        """
        m, truth = as_maps(maps, masks)
        left_out = None if ignore is None else as_maps(maps, ignore)[1]
        # Any increasing edges are valid; a regular sample of pixels places them well. The step shares no factor with
        # usual map sizes, so the sample does not follow a column of the grid.
        step = max(1, m.size // _SAMPLE) | 1
        per_image = [np.asarray(image[number % step :: step]) for number, image in enumerate(m)]
        sample = np.sort(np.concatenate(per_image)) if per_image else np.zeros(0)
        places = (np.arange(1, bins) * sample.size) // bins
        edges = np.unique(sample[places]) if sample.size else sample
        positives = np.zeros((len(m), len(edges) + 1), dtype=np.int32)
        negatives = np.zeros_like(positives)
        for number in range(len(m)):
            values = np.asarray(m[number])
            require_finite(values, f"map {number}")
            key = np.searchsorted(edges, values, side="right")
            inside = truth[number]
            outside = ~inside
            if left_out is not None:
                inside, outside = inside & ~left_out[number], outside & ~left_out[number]
            positives[number] = np.bincount(key[inside], minlength=positives.shape[1])
            negatives[number] = np.bincount(key[outside], minlength=positives.shape[1])
        return cls(positives, negatives, edges)

    def auroc(self, weights: ArrayLike | None = None) -> float | NDArray[np.float64]:
        """Pooled AUROC with images counted ``weights`` times: [N] or None gives a float, [R, N] gives float64 [R].

        A cohort is a weight vector of zeros and ones. Pixels that share a bin count as ties, see :meth:`bound`.
        """
        return self._replicate(auroc_from_counts, weights)

    def average_precision(self, weights: ArrayLike | None = None) -> float | NDArray[np.float64]:
        """Pooled average precision with images counted ``weights`` times, shapes as in :meth:`auroc`."""
        return self._replicate(average_precision_from_counts, weights)

    def auroc_and_average_precision(
        self, weights: ArrayLike, index: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both figures of replicates from one sum of histograms.

        Args:
            weights: how often each image occurs, [R, N].
            index: bool [N], the cohort; other images do not count. All if omitted.

        Returns:
            float64 [R] each.
        """
        chosen = np.ones(len(self.positives), dtype=bool) if index is None else index
        positives, negatives = self.positives[chosen], self.negatives[chosen]
        given = np.asarray(weights)
        values: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        for start in range(0, len(given), _REPLICATES):
            part = as_weights(given[start : start + _REPLICATES, chosen], len(positives))
            counts = _combine(part, positives), _combine(part, negatives)
            values.append((auroc_from_counts(*counts), average_precision_from_counts(*counts)))
        return np.concatenate([each[0] for each in values]), np.concatenate([each[1] for each in values])

    def bound(self, weights: ArrayLike | None = None) -> float | NDArray[np.float64]:
        """Largest possible distance of :meth:`auroc` to the value of the unbinned scores."""
        return self._replicate(auroc_bound, weights)

    def average_precision_bound(self, weights: ArrayLike | None = None) -> float | NDArray[np.float64]:
        """Largest possible distance of :meth:`average_precision` to the value of the unbinned scores."""
        return self._replicate(average_precision_bound, weights)

    def _replicate(self, function: CountsFunction, weights: ArrayLike | None) -> float | NDArray[np.float64]:
        images = len(self.positives)
        w = as_weights(np.ones(images) if weights is None else weights, images)
        values = [
            function(_combine(part, self.positives), _combine(part, self.negatives))
            for part in (w[start : start + _REPLICATES] for start in range(0, len(w), _REPLICATES))
        ]
        joined = np.concatenate(values) if values else np.zeros(0)
        return as_result(joined, weights)


def _combine(weights: NDArray[np.float64], counts: NDArray[np.int32]) -> NDArray[np.float64]:
    """Sum histograms [N, B] with weights [R, N] to [R, B]; blocks of images bound the float64 copy."""
    total = np.zeros((len(weights), counts.shape[1]))
    for start in range(0, len(counts), _IMAGES):
        block = slice(start, start + _IMAGES)
        total += weights[:, block] @ counts[block].astype(np.float64)
    return total
