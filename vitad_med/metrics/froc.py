"""Free-response ROC (FROC): how many regions are found at how many false positives per normal image.

Bunch et al., A free-response approach to the measurement and characterization of radiographic-observer performance,
Proc. SPIE 127 (1977) 124-135. Candidates are connected components of the map above a pixel threshold
(:mod:`vitad_med.metrics.candidates`), and a region is found at score s when a candidate with a score of at least s is
located in it. False positives are counted on normal images only, because the boxes of abnormal images are incomplete:
a mark outside of them may well be right. Abnormal images give sensitivity only.

The mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per image is the summary of ANODE09 (van Ginneken
et al., Medical Image Analysis 14 (2010) 707-722) and LUNA16 (Setio et al., Medical Image Analysis 42 (2017) 1-13).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from vitad_med.errors import DataError
from vitad_med.metrics.candidates import find_false_positives, find_regions
from vitad_med.metrics.checks import as_weights

POINTS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per normal image at which ``froc_mean`` reads the sensitivity."""

GRID: NDArray[np.float64] = np.concatenate(([0.0], 2.0 ** (np.arange(-40, 25) / 8)))
"""False positives per normal image of a drawn curve: 0, then 1/32 to 8 in steps of an eighth of an octave."""

_AT = np.searchsorted(GRID, POINTS)
_IMAGES = 2048
_REPLICATES = 256
_EXACT = 1 << 24


@dataclass(frozen=True)
class Froc:
    """Candidates of normal images, and the scores at which the regions of abnormal images are found.

    Attributes:
        candidates: int32 [normals], number of candidates of each normal image.
        normal_scores: [M], scores of those candidates that can matter: none is below the lowest event.
        normal_image: int32 [M], which normal image each belongs to.
        region_image: int32 [G], which abnormal image each region belongs to.
        abnormals: number of abnormal images.
        event_scores: [E], scores at which a region is found.
        event_region: int32 [E], which region.
        event_share: float64 [E], probability that it is found at that score and not before; 1 without ties.
    """

    candidates: NDArray[np.int32]
    normal_scores: NDArray
    normal_image: NDArray[np.int32]
    abnormals: int
    region_image: NDArray[np.int32]
    event_scores: NDArray
    event_region: NDArray[np.int32]
    event_share: NDArray[np.float64]

    @classmethod
    def build(
        cls,
        normal: Iterable[ArrayLike],
        abnormal: Iterable[ArrayLike],
        regions: Iterable[ArrayLike],
        threshold: float,
    ) -> Froc:
        """Find candidates in one pass over each kind of maps, abnormal ones first; one map is in memory at a time.

        Args:
            normal: maps [H, W] of the normal images.
            abnormal: maps [H, W] of the abnormal images whose regions are known.
            regions: for each abnormal image its truth regions, int [K, 4] of half-open rectangles (y0, y1, x0, x1) or
                bool [K, H, W] (:func:`~vitad_med.metrics.regions.grid_rectangle`,
                :func:`~vitad_med.metrics.regions.mask_regions`); K may be 0.
            threshold: pixels of at least this value form candidates; usually the pixel threshold at a false-positive
                rate of 10 % on the normal images. A lower one joins neighbouring peaks into one candidate and lets the
                curve end further right. May be NaN if there are no normal images.

        Raises:
            DataError: a map that is not [H, W] or not finite, regions that do not fit their map, numbers of maps and
                regions that differ, or a threshold of NaN with normal images.
        """
        regions_of, event_scores, event_region, event_share = find_regions(abnormal, regions, threshold)
        lowest = event_scores.min(initial=np.inf)
        candidates, normal_scores, normal_image = find_false_positives(normal, threshold, lowest)
        return cls(
            candidates=candidates,
            normal_scores=normal_scores,
            normal_image=normal_image,
            abnormals=len(regions_of),
            region_image=np.repeat(np.arange(len(regions_of), dtype=np.int32), regions_of),
            event_scores=event_scores,
            event_region=event_region,
            event_share=event_share,
        )

    def cohort(
        self,
        normal: ArrayLike | None = None,
        abnormal: ArrayLike | None = None,
        regions: ArrayLike | None = None,
    ) -> Froc:
        """The same analysis of some of the images, false positives and regions alike.

        Args:
            normal: normal images to keep, bool [normals] or their numbers, which may not repeat; all if omitted.
            abnormal: abnormal images to keep, bool [abnormals] or numbers.
            regions: regions to keep besides, e.g. those of one finding, bool [G] or numbers among ``region_image``.

        Returns:
            A Froc whose images have the order of the given numbers.

        Raises:
            DataError: a number out of range or repeated, or a bool vector of another length.
        """
        of_normal = _renumber(normal, self.normals, "normal images")
        of_abnormal = _renumber(abnormal, self.abnormals, "abnormal images")
        kept = (_renumber(regions, len(self.region_image), "regions") >= 0) & (of_abnormal[self.region_image] >= 0)
        of_region = np.where(kept, np.cumsum(kept) - 1, -1)
        marks, events = of_normal[self.normal_image] >= 0, of_region[self.event_region] >= 0
        return Froc(
            candidates=self.candidates[np.argsort(of_normal, kind="stable")[np.sum(of_normal < 0) :]],
            normal_scores=self.normal_scores[marks],
            normal_image=of_normal[self.normal_image[marks]].astype(np.int32),
            abnormals=int((of_abnormal >= 0).sum()),
            region_image=of_abnormal[self.region_image[kept]].astype(np.int32),
            event_scores=self.event_scores[events],
            event_region=of_region[self.event_region[events]].astype(np.int32),
            event_share=self.event_share[events],
        )

    @property
    def normals(self) -> int:
        """Number of normal images."""
        return len(self.candidates)

    @property
    def end(self) -> float:
        """Candidates per normal image; the curve is flat beyond. NaN without normal images."""
        return float(self.candidates.mean()) if self.normals else float("nan")

    def sensitivity(
        self,
        at: ArrayLike = GRID,
        normal_weights: ArrayLike | None = None,
        abnormal_weights: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Highest share of regions found at any score threshold with at most x false positives per normal image.

        That is a step function of operating points that exist; nothing is interpolated, and candidates that tie in
        score are taken or left together.

        Args:
            at: A values x >= 0.
            normal_weights: how often each normal image occurs, [normals] or [R, normals]; each once if omitted.
            abnormal_weights: the same for abnormal images, with the same R.

        Returns:
            float64 [A], or [R, A] for weights of R replicates, in 0..1. NaN where no normal image or no region has
            weight.

        Raises:
            DataError: weights or x are negative, not finite or of the wrong shape.
        """
        x = np.asarray(at, dtype=np.float64).ravel()
        if not (np.isfinite(x).all() and (x >= 0).all()):
            raise DataError("false positives per normal image must be finite and not negative, e.g. 0.125 to 8.")
        normal = np.atleast_2d(np.ones(self.normals) if normal_weights is None else np.asarray(normal_weights))
        abnormal = np.atleast_2d(np.ones(self.abnormals) if abnormal_weights is None else np.asarray(abnormal_weights))
        rows = max(len(normal), len(abnormal))
        if not {len(normal), len(abnormal)} <= {1, rows}:
            raise DataError(f"{len(normal)} and {len(abnormal)} replicates of weights; give both the same number.")
        levels = np.unique(self.event_scores)[::-1]
        alarms, found = self._alarms(levels), self._found(levels)
        regions = np.bincount(self.region_image, minlength=self.abnormals).astype(np.float64)
        values = np.empty((rows, len(x)))
        for start in range(0, rows, _REPLICATES):
            block = slice(start, start + _REPLICATES)
            wn = as_weights(normal if len(normal) == 1 else normal[block], self.normals)
            wa = as_weights(abnormal if len(abnormal) == 1 else abnormal[block], self.abnormals)
            values[block] = _steps(x, _weighted_counts(wn, alarms), wn.sum(axis=1), wa @ found, wa @ regions)
        many = any(weights is not None and np.ndim(weights) == 2 for weights in (normal_weights, abnormal_weights))
        return values if many else values[0]

    def _alarms(self, levels: NDArray) -> sparse.csr_array:
        """Candidates of each normal image between one level and the level before, counts [normals, K]."""
        reached = np.searchsorted(levels[::-1], self.normal_scores, side="right")
        counted = reached > 0
        column = len(levels) - reached[counted]
        ones = np.ones(len(column), dtype=np.float32)
        cells = sparse.coo_array((ones, (self.normal_image[counted], column)), shape=(self.normals, len(levels)))
        return sparse.csr_array(cells)

    def _found(self, levels: NDArray) -> NDArray[np.float64]:
        """Regions of each abnormal image that are first found at each level, [abnormals, K]."""
        column = len(levels) - 1 - np.searchsorted(levels[::-1], self.event_scores)
        cells = self.region_image[self.event_region].astype(np.int64) * len(levels) + column
        size = self.abnormals * len(levels)
        table = np.bincount(cells, weights=self.event_share, minlength=size).astype(np.float64)
        return table.reshape(self.abnormals, len(levels))


def froc_figures(curve: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Figures read off sensitivities at :data:`GRID`.

    Args:
        curve: [..., len(GRID)] of :meth:`Froc.sensitivity`.

    Returns:
        ``froc_mean``, the mean over :data:`POINTS`, and ``froc_1``, at one false positive per normal image; each
        [...], a scalar for a single curve.
    """
    points = np.asarray(curve)[..., _AT]
    return {"froc_mean": points.mean(axis=-1), "froc_1": points[..., POINTS.index(1.0)][()]}


def _steps(
    x: NDArray[np.float64],
    alarms: NDArray[np.float64],
    images: NDArray[np.float64],
    found: NDArray[np.float64],
    regions: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sensitivity [R, A] from false positives and found regions by level [R, K], images and regions [R]."""
    rows = max(len(images), len(regions))
    alarms = alarms.cumsum(axis=1)
    shares = np.concatenate((np.zeros((len(found), 1)), found.cumsum(axis=1)), axis=1)
    values = np.full((rows, len(x)), np.nan)
    for row in range(rows):
        # Weights of one kind may be the same for all replicates.
        normal, abnormal = min(row, len(images) - 1), min(row, len(regions) - 1)
        count, total = images[normal], regions[abnormal]
        if count > 0 and total > 0:
            # A product such as .1 * 30 may fall short of the whole number of false positives that it stands for.
            last = np.searchsorted(alarms[normal], x * count * (1 + 1e-12), side="right")
            values[row] = np.minimum(shares[abnormal, last] / total, 1.0)
    return values


def _weighted_counts(weights: NDArray[np.float64], counts: sparse.csr_array) -> NDArray[np.float64]:
    """Weights [R, N] times counts [N, K], float64 [R, K]; blocks of images bound the dense copy."""
    total = np.zeros((len(weights), counts.shape[1]))
    whole = bool(np.array_equal(weights, np.floor(weights))) if counts.nnz else True
    for start in range(0, counts.shape[0], _IMAGES):
        block = slice(start, start + _IMAGES)
        dense, part = counts[block].toarray(), weights[:, block]
        # Sums of whole numbers below 2^24 are exact in float32, which multiplies twice as fast.
        if not (whole and part.max(initial=0) * dense.sum(axis=0).max(initial=0) < _EXACT):
            dense = dense.astype(np.float64)
        total += part.astype(dense.dtype, copy=False) @ dense
    return total


def _renumber(chosen: ArrayLike | None, size: int, what: str) -> NDArray[np.int64]:
    """New number of each of ``size`` things, -1 for those left out."""
    if chosen is None:
        return np.arange(size)
    index = np.asarray(chosen).ravel()
    if index.dtype == np.bool_:
        if len(index) != size:
            raise DataError(f"{len(index)} flags for {size} {what}; give one to each.")
        index = np.flatnonzero(index)
    index = index.astype(np.int64)
    if len(np.unique(index)) != len(index) or (index.size and not 0 <= index.min() <= index.max() < size):
        raise DataError(f"numbers of {what} must be different and lie in 0..{size - 1}; use weights to repeat them.")
    numbers = np.full(size, -1, dtype=np.int64)
    numbers[index] = np.arange(len(index))
    return numbers
