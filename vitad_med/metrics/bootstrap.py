"""Patient-clustered bootstrap: images of one patient are drawn together, because they are not independent.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval); Field and Welsh,
Bootstrapping clustered data, JRSS B 69 (2007) (resampling clusters); Hesterberg, What teachers should know about the
bootstrap, The American Statistician 69 (2015) (expanded percentile interval); Pepe, The Statistical Evaluation of
Medical Tests (2003), section 5.2 (intervals of an AUROC on the logit scale). Measured coverages:
``docs/statistics.md``.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import norm, t

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
    kind = _kinds(of_image, labels)
    drawn = np.zeros((replicates, len(patients)), dtype=np.uint16)
    generator = np.random.default_rng(seed)
    for stratum in np.unique(kind):
        members = np.flatnonzero(kind == stratum)
        for replicate in range(replicates):
            picks = generator.integers(0, len(members), size=len(members), dtype=np.uint32)
            drawn[replicate, members] = np.bincount(picks, minlength=len(members))
    return drawn[:, of_image]


def patient_kinds(patient_ids: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """What images the patient of each image has: 1 normal ones only, 2 abnormal ones only, 3 both.

    Args:
        patient_ids: patient of each image, [N].
        labels: 0 normal or 1 abnormal for each image, [N].

    Returns:
        int64 [N], the strata of :func:`patient_weights`, the same for all images of a patient.

    Raises:
        DataError: no images, or lengths differ.
    """
    _, of_image = _patients(patient_ids)
    return _kinds(of_image, labels)[of_image]


def interval(values: ArrayLike, level: float = 0.95, patients: int | None = None) -> tuple[float, float]:
    """Percentile interval of bootstrap replicates, for any figure: a difference, a rate, a threshold.

    With ``patients`` the percentiles are widened to Phi(-+ sqrt(n / (n - 1)) t_{n-1}) (Hesterberg 2015), which undoes
    the bootstrap's narrowness of sqrt((n - 1) / n) and its normal quantile. A figure in 0..1 is better served by
    :func:`logit_interval`.

    Args:
        values: replicates [R].
        level: coverage aimed at, in (0, 1).
        patients: number of patients n of the smaller class that the figure needs (localization: localized patients;
            a difference of cohorts: the smaller cohort's). Without it, plain percentiles.

    Returns:
        Lower and upper end. Both are NaN if the figure does not exist in more than 1 % of the replicates: quantiles of
        the rest would describe an easier population.

    Raises:
        DataError: the level is not in (0, 1), there are no replicates, or fewer than 2 patients.
    """
    _check_level(level)
    finite = _finite_replicates(values)
    if finite is None:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    if patients is not None:
        quantile = _t_quantile(level, patients)
        tail = float(norm.cdf(-np.sqrt(patients / (patients - 1)) * quantile))
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def logit_interval(value: float, values: ArrayLike, patients: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a figure in 0..1, symmetric on the logit scale: logit(A) -+ t_{n-1} se / (A (1 - A)).

    se is the standard deviation of the replicates. Near 0 and 1, where the figure's distribution is skewed and
    percentile intervals miss on one side, it covers best of the intervals tried; see ``docs/statistics.md``. It always
    holds the figure itself and never leaves 0..1.

    At exactly 0 or 1 the replicates do not vary and carry no error. There the far end is Clopper and Pearson's for n
    patients without a single failure, (alpha / 2)^(1/n) or one minus that.

    Args:
        value: the figure A of the sample itself, in 0..1.
        values: its replicates [R].
        patients: number of patients n of the smaller class that the figure needs (image metrics: the fewer of patients
            with normal and with abnormal images; localization metrics: localized patients), at least 2.
        level: coverage aimed at, in (0, 1).

    Returns:
        Lower and upper end, NaN as in :func:`interval`, and where ``value`` is NaN.

    Raises:
        DataError: as :func:`interval`, or the figure is outside 0..1.
    """
    _check_level(level)
    finite = _finite_replicates(values)
    quantile = _t_quantile(level, patients)
    if np.isnan(value) or finite is None:
        return float("nan"), float("nan")
    if not 0 <= value <= 1:
        raise DataError(f"figure {value} is outside 0..1; use bootstrap.interval for figures such as differences.")
    if value in (0, 1):
        far = ((1 - level) / 2) ** (1 / patients)
        return (far, 1.0) if value else (0.0, 1 - far)
    # Replicates that are all alike, such as those of a map that knows nothing, differ by rounding only.
    error = float(np.std(finite, ddof=1)) if np.ptp(finite) > 1e-12 else 0.0
    half = quantile * error / (value * (1 - value))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half))


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


def _kinds(of_image: NDArray[np.int64], labels: ArrayLike) -> NDArray[np.int64]:
    """Kind of each patient, [patients]."""
    y = as_binary(labels, len(of_image))
    kind = np.zeros(int(of_image.max()) + 1, dtype=np.int64)
    np.bitwise_or.at(kind, of_image, np.where(y, 2, 1))
    return kind


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise DataError(f"interval level {level} must lie between 0 and 1, e.g. 0.95.")


def _finite_replicates(values: ArrayLike) -> NDArray[np.float64] | None:
    """Replicates in which the figure exists, or None where they are too few."""
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1 or not v.size:
        raise DataError(f"bootstrap replicates of shape {list(v.shape)} must be a non-empty vector.")
    finite = v[np.isfinite(v)]
    return None if finite.size < 0.99 * v.size else finite


def _t_quantile(level: float, patients: int) -> float:
    if patients < 2:
        raise DataError(f"an interval needs at least 2 patients in each class, not {patients}.")
    return float(t.ppf((1 + level) / 2, patients - 1))
