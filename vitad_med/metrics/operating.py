"""What a threshold does to normal and abnormal images, and at the prevalence of a ward.

Images of the evaluation are rarely mixed as patients are. Rates per class are therefore taken from the data, and what
depends on the mix (alarms, predictive values) from the rates and a stated prevalence (Bayes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_binary
from vitad_med.metrics.proportions import (
    NOTHING,
    Estimate,
    clustered_proportion,
    ratio,
    residuals_by_patient,
    weighted_sum,
)

# Replicates weighted at once: float64 [rows, N].
_CELLS = 1 << 21


@dataclass(frozen=True)
class OperatingPoint:
    """Figures at one threshold, each (value, low, high), NaN where there is none.

    Attributes:
        false_positive_rate: share of the normal images that are flagged, in 0..1.
        sensitivity: share of the abnormal images that are flagged, in 0..1.
        alarms_per_100: 100 (prevalence * sensitivity + (1 - prevalence) * false_positive_rate), in 0..100.
        ppv: probability that a flagged image is abnormal, at the prevalence.
        npv: probability that an image that is not flagged is normal, at the prevalence.
    """

    false_positive_rate: Estimate
    sensitivity: Estimate
    alarms_per_100: Estimate
    ppv: Estimate
    npv: Estimate


def operating_point(
    flags: ArrayLike, labels: ArrayLike, patients: ArrayLike, prevalence: float = 0.05, level: float = 0.95
) -> OperatingPoint:
    """Figures of flagged images.

    Rates have clustered exact intervals (:func:`~vitad_med.metrics.proportions.clustered_proportion`). Alarms combine
    the two by MOVER with their correlation through patients with images of both classes. The odds of the predictive
    values are prevalence / (1 - prevalence) * sensitivity / false-positive rate and (1 - prevalence) / prevalence *
    specificity / (1 - sensitivity), with MOVER-R intervals of the ratios; taking the rates for independent there errs
    on the wide side, because patients with both classes make them rise and fall together.

    Args:
        flags: bool [N] (or 0/1), e.g. ``Threshold.flags(scores)``.
        labels: 0 normal or 1 abnormal, [N].
        patients: patient of each image, [N].
        prevalence: share of abnormal images where the threshold would be used, in (0, 1).
        level: coverage aimed at, in (0, 1).

    Raises:
        DataError: lengths differ, or the prevalence or level is not in (0, 1).
    """
    if not 0 < prevalence < 1:
        raise DataError(f"prevalence {prevalence} must lie between 0 and 1, e.g. 0.05.")
    ids = np.asarray(patients).ravel()
    flagged, y = as_binary(flags, len(ids), "flags"), as_binary(labels, len(ids))
    fpr = clustered_proportion(flagged[~y], ids[~y], level)
    sensitivity = clustered_proportion(flagged[y], ids[y], level)
    if not (y.any() and (~y).any()):
        return OperatingPoint(fpr, sensitivity, NOTHING, NOTHING, NOTHING)
    alarms = weighted_sum(sensitivity, fpr, prevalence, _correlation(flagged, y, ids))
    odds = prevalence / (1 - prevalence)
    return OperatingPoint(
        false_positive_rate=fpr,
        sensitivity=sensitivity,
        alarms_per_100=Estimate(*(100 * end for end in alarms)),
        ppv=_probability(ratio(sensitivity, fpr), odds),
        npv=_probability(ratio(_complement(fpr), _complement(sensitivity)), 1 / odds),
    )


def flagged_rates(
    flags: ArrayLike, labels: ArrayLike, weights: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False-positive rate and sensitivity in bootstrap replicates, for paired differences.

    Args:
        flags: bool [N] (or 0/1).
        labels: 0 normal or 1 abnormal, [N].
        weights: bootstrap counts [R, N].

    Returns:
        float64 [R] and float64 [R]; NaN where a replicate lacks the class.

    Raises:
        DataError: shapes do not fit.
    """
    w = np.asarray(weights)
    if w.ndim != 2:
        raise DataError(f"weights {list(w.shape)} must have shape [replicates, images].")
    y = as_binary(labels, w.shape[1])
    flagged = as_binary(flags, w.shape[1], "flags")
    columns = np.stack([~y & flagged, ~y, y & flagged, y], axis=1).astype(np.float64)
    rows = max(1, _CELLS // max(1, w.shape[1]))
    sums = np.concatenate([w[start : start + rows] @ columns for start in range(0, len(w), rows)])
    shares = np.full((len(w), 2), np.nan)
    np.divide(sums[:, ::2], sums[:, 1::2], out=shares, where=sums[:, 1::2] > 0)
    return shares[:, 0], shares[:, 1]


def _correlation(flagged: NDArray[np.bool_], labels: NDArray[np.bool_], ids: NDArray) -> float:
    """Correlation of the two rates' estimates through patients with images of both classes."""
    normal, abnormal = (
        residuals_by_patient(flagged[~labels], ids[~labels]),
        residuals_by_patient(flagged[labels], ids[labels]),
    )
    _, ours, theirs = np.intersect1d(np.unique(ids[~labels]), np.unique(ids[labels]), return_indices=True)
    size = float(np.sqrt((normal @ normal) * (abnormal @ abnormal)))
    return float(np.clip(normal[ours] @ abnormal[theirs] / size, -1, 1)) if size > 0 else 0.0


def _complement(rate: Estimate) -> Estimate:
    return Estimate(1 - rate.value, 1 - rate.high, 1 - rate.low)


def _probability(likelihood_ratio: Estimate, odds: float) -> Estimate:
    """Probability from prior odds times a likelihood ratio, end by end; an infinite ratio is certainty."""
    ends = (1.0 if np.isinf(end) else odds * end / (1 + odds * end) for end in likelihood_ratio)
    return Estimate(*(float(end) for end in ends))
