"""Exact AUROC and average precision by sorting positives and negatives separately: the reference for every shortcut.

Sorting the two classes apart needs no index array and no second copy of the labels, which is where the time and memory
of a joint argsort go.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vitad_med.metrics.checks import as_scores

_CHUNK = 1 << 20


def exact_auroc(positives: ArrayLike | torch.Tensor, negatives: ArrayLike | torch.Tensor) -> float:
    """Mann-Whitney AUROC, P(positive > negative) + P(tie) / 2.

    Args:
        positives: scores of the abnormal class, any shape.
        negatives: scores of the normal class, any shape.

    Returns:
        AUROC in 0..1, or NaN when a class is empty.

    Raises:
        DataError: a score is NaN or infinite.
    """
    return _auroc(*_sorted(positives, negatives))


def exact_average_precision(positives: ArrayLike | torch.Tensor, negatives: ArrayLike | torch.Tensor) -> float:
    """Average precision, sum over distinct thresholds of (R_k - R_{k-1}) P_k, without interpolation.

    Arguments and errors as in :func:`exact_auroc`; NaN when there are no positives.
    """
    return _average_precision(*_sorted(positives, negatives))


def exact_auroc_and_average_precision(
    positives: ArrayLike | torch.Tensor, negatives: ArrayLike | torch.Tensor
) -> tuple[float, float]:
    """Both figures from one sort; arguments and errors as in :func:`exact_auroc`."""
    pos, neg = _sorted(positives, negatives)
    return _auroc(pos, neg), _average_precision(pos, neg)


def _sorted(positives: ArrayLike | torch.Tensor, negatives: ArrayLike | torch.Tensor) -> tuple[NDArray, NDArray]:
    return np.sort(as_scores(positives, "positive scores")), np.sort(as_scores(negatives, "negative scores"))


def _auroc(pos: NDArray, neg: NDArray) -> float:
    if not (pos.size and neg.size):
        return float("nan")
    # Looking sorted values up in a sorted array walks through it once; random look-ups would miss the cache.
    doubled = 0
    for start in range(0, pos.size, _CHUNK):
        part = pos[start : start + _CHUNK]
        doubled += int(np.searchsorted(neg, part, "left").sum()) + int(np.searchsorted(neg, part, "right").sum())
    return doubled / (2 * pos.size * neg.size)


def _average_precision(pos: NDArray, neg: NDArray) -> float:
    if not pos.size:
        return float("nan")
    first = np.flatnonzero(np.concatenate(([True], pos[1:] != pos[:-1])))
    ties: NDArray = np.diff(np.append(first, pos.size))
    found = pos.size - first
    false_alarms = neg.size - np.searchsorted(neg, pos[first], "left")
    return float(np.sum(ties * (found / (found + false_alarms))) / pos.size)
