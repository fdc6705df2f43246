"""All pixels of a stack of maps sorted into 65,536 bins once, for pooled figures of any cohort.

Sorting the pixels anew for every cohort is what pooled figures cost. Here each pixel is looked up once among edges that
hold about the same number of pixels each; a cohort then counts its pixels by bin, and a coarser histogram of each image
for the bootstrap follows by adding neighbouring bins.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vitad_med.metrics.checks import as_maps, require_finite
from vitad_med.metrics.pooled import PooledHistograms

BINS = 1 << 16
_SAMPLE = 1 << 21


@dataclass(frozen=True)
class PixelCodes:
    """The bin of every pixel.

    Attributes:
        codes: uint16 [N, P]; bin b holds edges[b - 1] <= value < edges[b].
        truth: bool [N, P], positives.
        kept: bool [N, P], pixels that count, or None for all.
        edges: increasing values, at most 65,535.
        exact: bool [bins], bins whose pixels all have one value, so that counting them loses nothing.
    """

    codes: NDArray[np.uint16]
    truth: NDArray[np.bool_]
    kept: NDArray[np.bool_] | None
    edges: NDArray
    exact: NDArray[np.bool_]

    @classmethod
    def build(
        cls,
        maps: ArrayLike | torch.Tensor,
        masks: ArrayLike | torch.Tensor,
        ignore: ArrayLike | torch.Tensor | None = None,
    ) -> PixelCodes:
        """Look all pixels up.

        Args:
            maps: real array [N, H, W], finite; may be memory-mapped.
            masks: bool or 0/1 array [N, H, W].
            ignore: bool or 0/1 array [N, H, W] of pixels to leave out.

        Raises:
            DataError: shapes differ, masks are not binary, or a map value is not finite.
        """
        m, truth = as_maps(maps, masks)
        # The step shares no factor with usual map sizes, so the sample does not follow a column of the grid.
        step = max(1, m.size // _SAMPLE) | 1
        sample = np.sort(np.concatenate([np.asarray(image[number % step :: step]) for number, image in enumerate(m)]))
        edges = np.unique(sample)
        if len(edges) >= BINS:
            edges = np.unique(sample[(np.arange(1, BINS) * sample.size) // BINS])
        codes = np.empty(m.shape, dtype=np.uint16)

        def look_up(number: int) -> NDArray[np.bool_]:
            """Code one map; returns the bins in which it has a value other than the bin's lower edge."""
            values = np.asarray(m[number])
            require_finite(values, f"map {number}")
            # Looking sorted values up walks through the edges once, which costs less than missing the cache.
            order = np.argsort(values)
            ordered = values[order]
            own = np.searchsorted(edges, ordered, side="right")
            codes[number, order] = own
            mixed = np.zeros(len(edges) + 1, dtype=np.bool_)
            mixed[own[ordered != edges[own - 1]]] = True
            return mixed

        mixed = np.zeros(len(edges) + 1, dtype=np.bool_)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for found in pool.map(look_up, range(len(m))):
                mixed |= found
        kept = None if ignore is None else ~as_maps(maps, ignore)[1]
        return cls(codes, truth, kept, edges, ~mixed)

    def counts(self, index: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positives and negatives in each bin over the images bool [N], int64 [bins] each.

        :func:`vitad_med.metrics.counts.auroc_from_counts` and its companions turn them into figures and bounds.
        """
        positives, negatives = np.zeros((2, len(self.edges) + 1), dtype=np.int64)
        for number in np.flatnonzero(index):
            inside, outside = self._split(int(number))
            positives += np.bincount(inside, minlength=len(positives))
            negatives += np.bincount(outside, minlength=len(negatives))
        return positives, negatives

    def histograms(self, bins: int = 1024) -> PooledHistograms:
        """Histograms of each image over at most ``bins`` groups of neighbouring bins."""
        total = len(self.edges) + 1
        groups = min(bins, total)
        group = (np.arange(total) * groups // total).astype(np.uint16)
        positives = np.zeros((len(self.codes), groups), dtype=np.int32)
        negatives = np.zeros_like(positives)
        for number in range(len(self.codes)):
            inside, outside = self._split(number)
            positives[number] = np.bincount(group[inside], minlength=groups)
            negatives[number] = np.bincount(group[outside], minlength=groups)
        # A group ends where the next one's first bin begins.
        last = np.flatnonzero(np.diff(group))
        return PooledHistograms(positives, negatives, self.edges[last])

    def _split(self, number: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        codes, inside = self.codes[number], self.truth[number]
        outside = ~inside
        if self.kept is not None:
            inside, outside = inside & self.kept[number], outside & self.kept[number]
        return codes[inside], codes[outside]
