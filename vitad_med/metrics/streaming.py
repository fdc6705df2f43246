"""Pixel AUROC and average precision of any number of scores in about one megabyte.

Scores are quantised to 65,536 levels of a declared range and counted, positives and negatives apart. The result is
exact for the quantised scores; :meth:`StreamingAUROC.bound` gives the largest possible distance to the value of the
scores as they came. Counters of several processes or parts of a data set are merged by addition.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError
from vitad_med.metrics.counts import (
    auroc_bound,
    auroc_from_counts,
    average_precision_bound,
    average_precision_from_counts,
)
from vitad_med.metrics.exact import exact_auroc, exact_auroc_and_average_precision, exact_average_precision

__all__ = [
    "StreamingAUROC",
    "exact_auroc",
    "exact_auroc_and_average_precision",
    "exact_average_precision",
    "score_range",
]

# Quantising works on blocks that stay in the second-level cache; counting works on longer runs because each count
# returns a table of 2 x bins.
_BLOCK = 1 << 16
_RUN = 1 << 22
_NARROW = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16, torch.uint16)


class StreamingAUROC:
    """Two histograms of quantised scores, one for positives and one for negatives.

    Args:
        low: lowest score that may occur.
        high: highest score that may occur; a score equal to it falls into the last bin.
        bins: number of levels, equally wide.

    Attributes:
        counts: int64 tensor [2, bins]; row 0 counts negatives, row 1 positives.

    Example:
        >>> meter = StreamingAUROC(0.0, 1.0)
        >>> meter.update([0.1, 0.4, 0.8], [0, 0, 1])
        >>> meter.auroc()
        1.0
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, bins: int = 65536) -> None:
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise DataError(f"score range [{low}, {high}] must be finite with low below high.")
        if not 2 <= bins <= 1 << 24:
            raise DataError(f"bins = {bins} must lie between 2 and {1 << 24}.")
        self.low, self.high, self.bins = float(low), float(high), int(bins)
        self.counts = torch.zeros(2, self.bins, dtype=torch.int64)

    @classmethod
    def of(
        cls, scores: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor, bins: int = 65536
    ) -> StreamingAUROC:
        """Count scores in two passes, the first of which finds their range (widened if all scores are equal)."""
        low, high = score_range([scores])
        meter = cls(low, high if high > low else low + max(1.0, abs(low)), bins)
        meter.update(scores, labels)
        return meter

    def update(self, scores: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor) -> None:
        """Count more scores; all of them or, when an error is raised, none.

        Args:
            scores: numpy array or torch tensor on any device, any shape and real type, within [low, high].
            labels: 0 or 1 (or bool) for each score, the same number of elements.

        Raises:
            DataError: NaN, infinite or out-of-range scores (with their numbers), labels other than 0 and 1, or sizes
                that differ.
        """
        s, y = _flat(scores), _flat(labels)
        if len(s) != len(y):
            raise DataError(f"{len(y)} labels for {len(s)} scores; give one label to each score.")
        counts = torch.zeros(2 * self.bins, dtype=torch.int64)
        for start in range(0, len(s), _RUN):
            part = _tensor(s[start : start + _RUN])
            truth = _tensor(y[start : start + _RUN]).to(part.device)
            keys = self._keys(part, truth)
            if keys is None:
                raise DataError(self._complaint(s))
            counts += torch.bincount(keys, minlength=2 * self.bins).cpu()
        self.counts += counts.view(2, self.bins)

    def merge(self, other: StreamingAUROC) -> None:
        """Add the counts of another counter of the same range and bins; DataError if they differ."""
        mine, theirs = (self.low, self.high, self.bins), (other.low, other.high, other.bins)
        if mine != theirs:
            raise DataError(f"counters with (low, high, bins) {mine} and {theirs} cannot be merged; declare one range.")
        self.counts += other.counts

    def auroc(self) -> float:
        """AUROC of the quantised scores, ties one half; NaN when a class is empty."""
        return float(auroc_from_counts(*self._tables()))

    def average_precision(self) -> float:
        """Average precision of the quantised scores; NaN when there are no positives."""
        return float(average_precision_from_counts(*self._tables()))

    def bound(self) -> float:
        """Largest possible distance of :meth:`auroc` to the AUROC of the scores before quantisation."""
        return float(auroc_bound(*self._tables()))

    def average_precision_bound(self) -> float:
        """Largest possible distance of :meth:`average_precision` to its value before quantisation."""
        return float(average_precision_bound(*self._tables()))

    def __str__(self) -> str:
        negatives, positives = (int(total) for total in self.counts.sum(dim=1))
        return (
            f"AUROC {self.auroc():.6f} (within {self.bound():.1e} of the unquantised value), "
            f"AP {self.average_precision():.6f} (within {self.average_precision_bound():.1e}), "
            f"{positives:,} positive and {negatives:,} negative scores in {self.bins:,} bins"
        )

    def _tables(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self.counts[1].numpy(), self.counts[0].numpy()

    def _keys(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | None:
        """Bin of each score, plus `bins` for a positive, as int32; None when a score is out of range or not finite."""
        # Float32 holds every float16, bfloat16 and 8- or 16-bit integer exactly; the rest needs float64.
        narrow = scores.dtype in _NARROW
        size = min(_BLOCK, scores.numel()) if scores.device.type == "cpu" else scores.numel()
        work = torch.empty(size, dtype=torch.float32 if narrow else torch.float64, device=scores.device)
        keys = torch.empty(scores.numel(), dtype=torch.int32, device=scores.device)
        for start in range(0, scores.numel(), size):
            stop = min(start + size, scores.numel())
            part = work[: stop - start].copy_(scores[start:stop])
            # aminmax passes NaN on, and a comparison with NaN is false.
            lowest, highest = (float(v) for v in torch.aminmax(part))
            if not (lowest >= self.low and highest <= self.high):
                return None
            # Subtraction, product and conversion each keep the order of scores even when they round, so the bins are
            # ordered as the scores are and the bound holds. The highest score would open bin number `bins`.
            part.sub_(self.low).mul_(self.bins / (self.high - self.low)).clamp_(0, self.bins - 1)
            keys[start:stop].copy_(part).add_(_binary(labels[start:stop]), alpha=self.bins)
        return keys

    def _complaint(self, scores: torch.Tensor | NDArray) -> str:
        nan = infinite = below = above = 0
        for start in range(0, len(scores), _RUN):
            values = _tensor(scores[start : start + _RUN]).double()
            nan += int(torch.isnan(values).sum())
            infinite += int(torch.isinf(values).sum())
            below += int((torch.isfinite(values) & (values < self.low)).sum())
            above += int((torch.isfinite(values) & (values > self.high)).sum())
        return (
            f"{nan + infinite + below + above} of {len(scores)} scores cannot be counted: {nan} NaN, "
            f"{infinite} infinite, {below} below {self.low:g}, {above} above {self.high:g}; "
            "declare a range that holds all scores (score_range finds it) and remove NaN and infinite ones."
        )


def score_range(parts: Iterable[ArrayLike | torch.Tensor]) -> tuple[float, float]:
    """First pass over scores: the lowest and highest of all parts.

    Raises:
        DataError: there are no scores, or some are NaN or infinite.
    """
    low, high, bad, total = np.inf, -np.inf, 0, 0
    for part in parts:
        flat = _flat(part)
        for start in range(0, len(flat), _RUN):
            values = _tensor(flat[start : start + _RUN])
            total += values.numel()
            values = values if values.is_floating_point() else values.double()
            lowest, highest = (float(v) for v in torch.aminmax(values))
            if np.isfinite(lowest) and np.isfinite(highest):
                low, high = min(low, lowest), max(high, highest)
            else:
                bad += int((~torch.isfinite(values)).sum())
    if bad or not total:
        raise DataError(f"{bad} of {total} scores are NaN or infinite; a range needs at least one score, all finite.")
    return low, high


def _flat(values: ArrayLike | torch.Tensor) -> torch.Tensor | NDArray:
    if isinstance(values, torch.Tensor):
        # MONAI's MetaTensor would carry its metadata through every operation.
        return values.detach().as_subclass(torch.Tensor).reshape(-1)
    return np.asarray(values).ravel()


def _tensor(part: torch.Tensor | NDArray) -> torch.Tensor:
    if isinstance(part, torch.Tensor):
        return part
    # Torch shares memory with arrays and warns about read-only ones, such as memory-mapped files.
    return torch.from_numpy(np.ascontiguousarray(part) if part.flags.writeable else np.array(part))


def _binary(labels: torch.Tensor) -> torch.Tensor:
    if labels.dtype != torch.bool:
        bad = int(((labels != 0) & (labels != 1)).sum())
        if bad:
            raise DataError(f"{bad} of {labels.numel()} labels are neither 0 nor 1; give 0 normal, 1 abnormal.")
        labels = labels == 1
    return labels.to(torch.int32)
