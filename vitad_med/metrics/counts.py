"""AUROC and average precision from counts of positives and negatives in ordered bins.

Scores that share a bin are ties, and a tied pair counts one half (Mann-Whitney). The last axis is the bin, from the
lowest score to the highest; leading axes, if any, are replicates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def auroc_from_counts(positives: NDArray, negatives: NDArray) -> NDArray[np.float64]:
    """AUROC = sum_b p_b (n_below_b + n_b / 2) / (P N), NaN where a class is empty.

    Args:
        positives: counts or weights [..., B], not negative.
        negatives: the same shape.

    Returns:
        float64 array of the leading shape.
    """
    p = np.asarray(positives, dtype=np.float64)
    n = np.asarray(negatives, dtype=np.float64)
    below = np.cumsum(n, axis=-1)
    total = below[..., -1].copy()
    below -= 0.5 * n
    wins = np.einsum("...b,...b->...", p, below)
    return _divide(wins, p.sum(axis=-1) * total)


def average_precision_from_counts(positives: NDArray, negatives: NDArray) -> NDArray[np.float64]:
    """Average precision = sum_b (p_b / P) * precision at the lower edge of bin b, as scikit-learn defines it.

    Shapes as in :func:`auroc_from_counts`; NaN where there are no positives.
    """
    p = np.asarray(positives, dtype=np.float64)
    n = np.asarray(negatives, dtype=np.float64)
    found = np.cumsum(p[..., ::-1], axis=-1)[..., ::-1]
    alarms = found + np.cumsum(n[..., ::-1], axis=-1)[..., ::-1]
    precision = np.divide(found, alarms, out=np.zeros_like(found), where=alarms > 0)
    return _divide(np.einsum("...b,...b->...", p, precision), p.sum(axis=-1))


def auroc_bound(positives: NDArray, negatives: NDArray, exact: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Largest possible distance between the binned AUROC and that of the scores before binning.

    Binning keeps the order of pairs in different bins, and moves a pair in one bin by at most one half, so the distance
    is at most sum_b p_b n_b / (2 P N) over the bins in which scores differ.

    Args:
        positives: counts or weights [..., B].
        negatives: the same shape.
        exact: bool [B], bins whose scores are all equal, which lose nothing; none if omitted.
    """
    p = np.asarray(positives, dtype=np.float64)
    n = np.asarray(negatives, dtype=np.float64)
    moved = p * n if exact is None else p * n * ~exact
    return _divide(0.5 * moved.sum(axis=-1), p.sum(axis=-1) * n.sum(axis=-1))


def average_precision_bound(
    positives: NDArray, negatives: NDArray, exact: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Largest possible distance between the binned average precision and that of the scores before binning.

    Let a bin hold p positives and n negatives, with a positives and b negatives above it. Its share of the average
    precision is largest when its positives tie above its negatives, p (a + p) / (a + p + b), and smallest when all its
    negatives come first, sum_{k=1..p} (a + k) / (a + k + b + n) >= p - (b + n) ln(1 + p / (a + b + n)). Arguments as in
    :func:`auroc_bound`.
    """
    p = np.asarray(positives, dtype=np.float64)[..., ::-1]
    n = np.asarray(negatives, dtype=np.float64)[..., ::-1]
    a = np.cumsum(p, axis=-1) - p
    b = np.cumsum(n, axis=-1) - n
    tied = p * _share(a + p, b + n)
    highest = p * _share(a + p, b)
    ahead = a + b + n
    log = np.log1p(np.divide(p, ahead, out=np.zeros_like(p), where=ahead > 0))
    lowest = np.maximum(p - (b + n) * log, 0.0)
    counted = 1.0 if exact is None else (~exact[::-1]).astype(np.float64)
    distance = np.maximum((counted * (highest - tied)).sum(axis=-1), (counted * (tied - lowest)).sum(axis=-1))
    return _divide(distance, p.sum(axis=-1))


def _share(part: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = part + rest
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _divide(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    numerator, denominator = np.asarray(numerator), np.asarray(denominator)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)
