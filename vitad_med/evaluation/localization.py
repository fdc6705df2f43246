"""The localization figures of one stack of maps, for any cohort and for the replicates of a bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from vitad_med.evaluation.document import LOCALIZATION_METRICS
from vitad_med.metrics.aupro import AuproContributions, aupro_contributions
from vitad_med.metrics.conditioned import PairMatrices, within_image_midranks
from vitad_med.metrics.counts import (
    auroc_bound,
    auroc_from_counts,
    average_precision_bound,
    average_precision_from_counts,
)
from vitad_med.metrics.exact import exact_auroc_and_average_precision
from vitad_med.metrics.localization import pointing_hits, weighted_mean
from vitad_med.metrics.pixel_codes import PixelCodes
from vitad_med.metrics.pooled import PooledHistograms

EXACT_PIXELS = 1_000_000
"""Pooled figures of at most this many pixels are sorted, so they are exact."""

COUNTED_BOUND = 5e-5
"""Above that, 65,536 bins are counted if the largest possible error stays below half a unit of the fourth decimal."""


@dataclass(frozen=True)
class MapFigures:
    """Figures of maps against their truth.

    Attributes:
        maps: float [N, S, S]; may be memory-mapped.
        masks: bool [N, S, S], positives.
        ignore: bool [N, S, S] of pixels that are neither, or None.
        ranks: float32 [N, S, S], the maps' within-image mid-ranks; computed when not given.
    """

    maps: np.ndarray
    masks: np.ndarray
    ignore: np.ndarray | None = None
    ranks: np.ndarray | None = field(default=None, repr=False)

    @cached_property
    def position(self) -> PairMatrices:
        """Pair matrices of the raw values."""
        return PairMatrices.build(self.maps, self.masks, self.ignore)

    @cached_property
    def conditioned(self) -> PairMatrices:
        """Pair matrices of the within-image mid-ranks."""
        ranks = within_image_midranks(self.maps) if self.ranks is None else self.ranks
        if ranks is self.maps:
            return self.position
        return PairMatrices.build(ranks, self.masks, self.ignore)

    @cached_property
    def hits(self) -> np.ndarray:
        """Pointing game of each image, float64 [N]; an ignored pixel is never the highest."""
        if self.ignore is None:
            return pointing_hits(self.maps, self.masks)
        hits = np.empty(len(self.maps))
        for index, (image, ignored) in enumerate(zip(self.maps, self.ignore, strict=True)):
            lowered = np.where(ignored, np.nextafter(image.min(), -np.inf, dtype=image.dtype), image)
            hits[index] = pointing_hits(lowered[None], self.masks[index][None])[0]
        return hits

    @cached_property
    def codes(self) -> PixelCodes:
        """Bins of all pixels, from which pooled figures of a cohort and of its replicates are counted."""
        return PixelCodes.build(self.maps, self.masks, self.ignore)

    @cached_property
    def histograms(self) -> PooledHistograms:
        """Per-image histograms that replicates of the pooled figures reweight."""
        return self.codes.histograms()

    @cached_property
    def regions(self) -> AuproContributions:
        """What each image adds to AUPRO, at the false-positive rates of all N images; outlines leave nothing out."""
        return aupro_contributions(self.maps, self.masks)

    def values(self, index: np.ndarray, metrics: Sequence[str] = LOCALIZATION_METRICS) -> dict[str, float]:
        """Point values of a cohort.

        Args:
            index: bool [N], at least one True.
            metrics: which figures to compute.

        Returns:
            Metric name to value; NaN where no pair of a positive and a negative exists.
        """
        values: dict[str, float] = {}
        if "pixel_auroc" in metrics or "pixel_ap" in metrics:
            values["pixel_auroc"], values["pixel_ap"] = self._pooled(index)
        if "position_auroc" in metrics:
            values["position_auroc"] = float(self.position.auroc(index=index))
        if "conditioned_auroc" in metrics:
            values["conditioned_auroc"] = float(self.conditioned.auroc(index=index))
        if "pointing_game" in metrics:
            values["pointing_game"] = float(weighted_mean(self.hits[index]))
        if "aupro" in metrics:
            values["aupro"] = float(self.regions.aupro(index))
        return {name: values[name] for name in metrics}

    def replicates(
        self, index: np.ndarray, weights: np.ndarray, metrics: Sequence[str] = LOCALIZATION_METRICS
    ) -> dict[str, np.ndarray]:
        """Replicates of the same figures.

        Args:
            index: bool [N].
            weights: how often each image occurs, [R, N].
            metrics: which figures to compute.

        Returns:
            Metric name to float64 [R].
        """
        drawn: dict[str, np.ndarray] = {}
        if "pixel_auroc" in metrics or "pixel_ap" in metrics:
            drawn["pixel_auroc"], drawn["pixel_ap"] = self.histograms.auroc_and_average_precision(weights, index)
        if "position_auroc" in metrics:
            drawn["position_auroc"] = np.asarray(self.position.auroc(weights, index))
        if "conditioned_auroc" in metrics:
            drawn["conditioned_auroc"] = np.asarray(self.conditioned.auroc(weights, index))
        if "pointing_game" in metrics:
            drawn["pointing_game"] = np.asarray(weighted_mean(self.hits[index], weights[:, index]))
        if "aupro" in metrics:
            drawn["aupro"] = np.asarray(self.regions.aupro(weights * index))
        return {name: drawn[name] for name in metrics}

    def _pooled(self, index: np.ndarray) -> tuple[float, float]:
        if int(index.sum()) * self.maps[0].size > EXACT_PIXELS:
            counts = self.codes.counts(index)
            exact = self.codes.exact
            if max(auroc_bound(*counts, exact), average_precision_bound(*counts, exact)) < COUNTED_BOUND:
                return float(auroc_from_counts(*counts)), float(average_precision_from_counts(*counts))
        values, truth = self.maps[index], self.masks[index]
        if self.ignore is not None:
            kept = ~self.ignore[index]
            values, truth = values[kept], truth[kept]
        return exact_auroc_and_average_precision(values[truth], values[~truth])
