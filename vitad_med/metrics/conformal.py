"""Conformal p-values and a threshold from normal images only, with finite-sample guarantees.

Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005), chapter 2 (p-values); Vovk, Conditional
validity of inductive conformal predictors, Machine Learning 92 (2013) (training-conditional validity); Bates et al.,
Testing for outliers with conformal p-values, Annals of Statistics 51 (2023).

The guarantees need calibration scores that are exchangeable with the new one. Images of one patient are not, so one
image is drawn from each calibration patient. Claims are marginal: for one image, drawn the same way, of a new normal
patient of the population from which the calibration patients come.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_scores


def one_image_per_patient(patients: ArrayLike, images: ArrayLike, seed: int = 0) -> NDArray[np.int64]:
    """Draw one image of each patient at random, whatever the order of the images.

    The image whose SHA-256 of seed, patient and image is smallest is taken; adding or removing other patients changes
    nothing for this one.

    Args:
        patients: patient of each image, [N].
        images: identifier of each image, [N]; no two of one patient alike.
        seed: another seed draws other images.

    Returns:
        Positions of the drawn images, ascending, int64 [patients].

    Raises:
        DataError: lengths differ, or an image occurs twice in a patient.
    """
    ids, names = np.asarray(patients).ravel().tolist(), np.asarray(images).ravel().tolist()
    if len(ids) != len(names):
        raise DataError(f"{len(ids)} patients for {len(names)} images; give one patient to each image.")
    smallest: dict[str, tuple[bytes, int]] = {}
    seen: set[tuple[str, str]] = set()
    for place, (patient, image) in enumerate(zip(map(str, ids), map(str, names), strict=True)):
        if (patient, image) in seen:
            raise DataError("an image occurs twice in one patient; give every image an identifier of its own.")
        seen.add((patient, image))
        # Lengths keep "1" + "23" and "12" + "3" apart.
        text = f"{seed}|{len(patient)}|{patient}|{image}"
        key = (hashlib.sha256(text.encode()).digest(), place)
        smallest[patient] = min(smallest.get(patient, key), key)
    return np.sort(np.array([place for _, place in smallest.values()], dtype=np.int64))


def conformal_p_values(calibration: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Conformal p-value of each score: p = (1 + #{calibration >= score}) / (n + 1).

    For a normal image exchangeable with the calibration images P(p <= a) <= a for every a.

    Args:
        calibration: scores of n normal images, one of each patient, finite.
        scores: scores to judge, [N], finite, higher is more abnormal.

    Returns:
        float64 [N] in [1 / (n + 1), 1].

    Raises:
        DataError: no calibration scores, or scores that are not finite.
    """
    ordered = _ordered(calibration)
    at_least = len(ordered) - np.searchsorted(ordered, as_scores(scores), side="left")
    return (1 + at_least) / (len(ordered) + 1)


@dataclass(frozen=True)
class Threshold:
    """A threshold from n calibration scores; an image is flagged when its score is *above* it, i.e. when p <= rate.

    Attributes:
        value: the k-th largest calibration score.
        rate: false-positive rate asked for.
        n: number of calibration scores.
        k: rank of the threshold from the top, the largest with k / (n + 1) <= rate.
    """

    value: float
    rate: float
    n: int
    k: int

    def flags(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Whether each score [N] is flagged, bool [N]."""
        return as_scores(scores) > self.value

    @property
    def expected(self) -> float:
        """False-positive rate k / (n + 1) on average over calibration sets; with ties at most that."""
        return self.k / (self.n + 1)


def threshold(calibration: ArrayLike, rate: float) -> Threshold:
    """Smallest threshold whose false-positive rate for a new normal patient is guaranteed to be at most ``rate``.

    The score s is flagged when s > value. With value the k-th largest of n calibration scores that is exactly
    #{calibration >= s} <= k - 1, i.e. p <= k / (n + 1), so flags and p-values agree, ties included.

    Args:
        calibration: scores of n normal images, one of each patient, finite.
        rate: false-positive rate, in (0, 1).

    Raises:
        DataError: the rate is not in (0, 1), or n is too small for it: no p-value can be below 1 / (n + 1).
    """
    ordered = _ordered(calibration)
    if not 0 < rate < 1:
        raise DataError(f"false-positive rate {rate} must lie between 0 and 1, e.g. 0.1.")
    n = len(ordered)
    k = _rank(n, rate)
    if k < 1:
        raise DataError(
            f"a false-positive rate of {rate:g} needs at least {_patients_needed(rate)} normal calibration patients; "
            f"with {n} the lowest is {lowest_rate(n):.4g}. Calibrate on more patients or ask for a higher rate."
        )
    return Threshold(float(ordered[n - k]), float(rate), n, k)


def lowest_rate(n: int) -> float:
    """Lowest false-positive rate that n calibration patients can guarantee, 1 / (n + 1)."""
    return 1 / (n + 1)


def training_conditional_bound(n: int, k: int, confidence: float = 0.95) -> float:
    """Upper limit of the false-positive rate of *this* threshold, over the luck of the calibration set.

    With the threshold at the k-th largest of n independent continuous scores the rate of a new normal image above it
    is distributed as Beta(k, n + 1 - k) (order statistics of uniforms; Vovk 2013, proposition 2). With ties it is
    stochastically smaller, so that the limit still holds.

    Args:
        n: number of calibration scores.
        k: rank of the threshold from the top, 1..n.
        confidence: probability that the rate is at most the limit, in (0, 1).

    Returns:
        The limit, in 0..1.

    Raises:
        DataError: k is not in 1..n, or the confidence is not in (0, 1).
    """
    if not 1 <= k <= n:
        raise DataError(f"rank {k} of a threshold must lie in 1..{n}, the number of calibration scores.")
    if not 0 < confidence < 1:
        raise DataError(f"confidence {confidence} must lie between 0 and 1, e.g. 0.95.")
    return float(beta.ppf(confidence, k, n + 1 - k))


def _ordered(calibration: ArrayLike) -> NDArray:
    scores = np.sort(as_scores(calibration, "calibration scores"))
    if not scores.size:
        raise DataError("calibration needs at least one normal image; there is none.")
    return scores


def _rank(n: int, rate: float) -> int:
    """Largest k with k / (n + 1) <= rate in the arithmetic of the p-values; rate * (n + 1) may be off by one ulp."""
    k = math.floor(rate * (n + 1))
    if (k + 1) / (n + 1) <= rate:
        k += 1
    return k - 1 if k / (n + 1) > rate else k


def _patients_needed(rate: float) -> int:
    n = max(1, math.ceil(1 / rate) - 1)
    while _rank(n, rate) < 1:
        n += 1
    while n > 1 and _rank(n - 1, rate) >= 1:
        n -= 1
    return n
