"""Patient-clustered bootstrap: images of one patient are drawn together, because they are not independent.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval); Field and Welsh,
Bootstrapping clustered data, JRSS B 69 (2007) (resampling clusters).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_binary

MINIMUM_PATIENTS = 20
_CLASS_NAMES = {0: "normal", 1: "abnormal"}


def patient_weights(
    patient_ids: ArrayLike, labels: ArrayLike, replicates: int = 2000, seed: int = 0
) -> NDArray[np.uint16]:
    """How often each image occurs in each bootstrap replicate.

    Patients are drawn with replacement inside three strata, those with normal images only, with abnormal images only
    and with both, so that every replicate keeps the number of patients of each kind.

    Args:
        patient_ids: patient of each image, [N].
        labels: 0 normal or 1 abnormal for each image, [N].
        replicates: number of replicates R.
        seed: the same seed and patients give the same replicates, whatever the order of the images.

    Returns:
        uint16 [R, N]; images of one patient have the same weight.

    Raises:
        DataError: no images, or lengths differ.
    """
    patients, of_image = _patients(patient_ids)
    y = as_binary(labels, len(of_image))
    kind = np.zeros(len(patients), dtype=np.int64)
    np.bitwise_or.at(kind, of_image, np.where(y, 2, 1))
    drawn = np.zeros((replicates, len(patients)), dtype=np.uint16)
    generator = np.random.default_rng(seed)
    for stratum in np.unique(kind):
        members = np.flatnonzero(kind == stratum)
        for replicate in range(replicates):
            picks = generator.integers(0, len(members), size=len(members), dtype=np.uint32)
            drawn[replicate, members] = np.bincount(picks, minlength=len(members))
    return drawn[:, of_image]


def interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap replicates.

    Args:
        values: replicates [R].
        level: coverage aimed at, in (0, 1).

    Returns:
        Lower and upper end. Both are NaN if the figure does not exist in more than 1 % of the replicates: quantiles of
        the rest would describe an easier population.

    Raises:
        DataError: the level is not in (0, 1) or there are no replicates.
    """
    if not 0 < level < 1:
        raise DataError(f"interval level {level} must lie between 0 and 1, e.g. 0.95.")
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1 or not v.size:
        raise DataError(f"bootstrap replicates of shape {list(v.shape)} must be a non-empty vector.")
    finite = v[np.isfinite(v)]
    if finite.size < 0.99 * v.size:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def no_interval_reason(
    patient_ids: ArrayLike,
    labels: ArrayLike,
    classes: Collection[int] = (0, 1),
    minimum: int = MINIMUM_PATIENTS,
) -> str | None:
    """Why a cohort is too small for an interval, or None when it is large enough.

    Args:
        patient_ids: patient of each image, [N].
        labels: 0 normal or 1 abnormal for each image, [N].
        classes: classes that the metric needs; localization metrics of boxed images need (1,) only.
        minimum: smallest number of patients in each class.

    Returns:
        A phrase such as ``"12 patients with normal images, fewer than 20"``, or None.
    """
    ids = np.asarray(patient_ids).ravel()
    y = as_binary(labels, len(ids))
    for wanted in classes:
        patients = len(np.unique(ids[y == bool(wanted)]))
        if patients < minimum:
            noun = "patient" if patients == 1 else "patients"
            return f"{patients} {noun} with {_CLASS_NAMES[int(wanted)]} images, fewer than {minimum}"
    return None


def _patients(patient_ids: ArrayLike) -> tuple[NDArray, NDArray[np.int64]]:
    ids = np.asarray(patient_ids).ravel()
    if not ids.size:
        raise DataError("a bootstrap needs at least one image; the cohort is empty.")
    patients, of_image = np.unique(ids, return_inverse=True)
    return patients, of_image
