"""Intervals of proportions among patients' images, and of sums and ratios of two proportions.

A clustered bootstrap of 0 false positives out of 128 draws 0 every time and reads [0, 0]. These intervals are exact
binomial ones for the effective number of images, and stay open there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, t

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_binary


class Estimate(NamedTuple):
    """A figure and its interval; NaN where there is none."""

    value: float
    low: float
    high: float


NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


def clustered_proportion(successes: ArrayLike, patients: ArrayLike, level: float = 0.95) -> Estimate:
    """Proportion p of images with its interval, where images of one patient count together.

    Korn and Graubard, Survey Methodology 24 (1998) 193-201: Clopper and Pearson's interval with the effective number
    of images n* = p (1 - p) / v * (t_{n-1} / t_{I-1})^2 in place of n, at most n, where
    v = I / (I - 1) sum_i (x_i - m_i p)^2 / n^2 is the clustered variance over I patients (x_i of m_i images). Where p
    is 0 or 1 the images of a patient cannot be told from copies of one another, and n* is the number of patients.

    Args:
        successes: bool [N] (or 0/1).
        patients: patient of each image, [N].
        level: coverage aimed at, in (0, 1).

    Returns:
        Proportion, lower and upper end; NaN without images. With one patient the interval is that of one image.

    Raises:
        DataError: lengths differ or the level is not in (0, 1).
    """
    if not 0 < level < 1:
        raise DataError(f"interval level {level} must lie between 0 and 1, e.g. 0.95.")
    ids = np.asarray(patients).ravel()
    x = as_binary(successes, len(ids), "successes")
    if not len(ids):
        return NOTHING
    number = len(x)
    proportion = float(x.mean())
    clusters = len(np.unique(ids))
    if proportion in (0.0, 1.0) or clusters == 1:
        effective = float(clusters)
    else:
        residuals = residuals_by_patient(x, ids)
        variance = clusters / (clusters - 1) * float(residuals @ residuals)
        effective = float(number)
        if variance > 0:
            wider = t.ppf((1 + level) / 2, number - 1) / t.ppf((1 + level) / 2, clusters - 1)
            effective = min(effective, proportion * (1 - proportion) / variance * wider**2)
    hits = proportion * effective
    tail = (1 - level) / 2
    low = 0.0 if proportion == 0 else float(beta.ppf(tail, hits, effective - hits + 1))
    high = 1.0 if proportion == 1 else float(beta.ppf(1 - tail, hits + 1, effective - hits))
    return Estimate(proportion, low, high)


def residuals_by_patient(successes: NDArray[np.bool_], patients: NDArray) -> NDArray[np.float64]:
    """(x_i - m_i p) / n of each patient, in the order of the sorted patients; their squares add up to the variance."""
    of_image = np.unique(patients, return_inverse=True)[1]
    return np.bincount(of_image, successes - successes.mean()) / len(successes)


def weighted_sum(first: Estimate, second: Estimate, share: float, correlation: float = 0.0) -> Estimate:
    """share * first + (1 - share) * second, with an interval from those of its parts.

    MOVER, Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702: the distance from each end is
    sqrt(a^2 + b^2 + 2 r a b) for the parts' own weighted distances a and b and their correlation r.

    Args:
        first, second: the parts.
        share: in 0..1.
        correlation: of the two estimates, in -1..1.
    """
    parts, shares = np.array([first, second]), np.array([share, 1 - share])
    value = float(shares @ parts[:, 0])

    def reach(end: int) -> float:
        a, b = shares * np.abs(parts[:, end] - parts[:, 0])
        return float(np.sqrt(max(a * a + b * b + 2 * correlation * a * b, 0.0)))

    return Estimate(value, value - reach(1), value + reach(2))


def ratio(top: Estimate, bottom: Estimate) -> Estimate:
    """top / bottom of two independent estimates that are not negative, with an interval from those of its parts.

    Donner and Zou, Statistical Methods in Medical Research 21 (2012) 347-359 (MOVER-R): an end R solves
    (s - R f)^2 = (s - s')^2 + R^2 (f - f')^2, for the lower one with the lower end s' of s and the upper end f' of f,
    and the reverse for the upper one. Infinite where the bottom, or its lower end, is 0; NaN where both parts are 0.
    """
    (s, s_low, s_high), (f, f_low, f_high) = top, bottom
    if np.isnan([s, f]).any() or (s == 0 and f == 0):
        return NOTHING
    product = s * f

    def root(own: float, other: float) -> float:
        return float(np.sqrt(max(product**2 - own * (2 * s - own) * other * (2 * f - other), 0.0)))

    # The lower root in the form that does not divide by 2 f - f', which may be 0.
    low = s_low * (2 * s - s_low) / (product + root(s_low, f_high)) if s_low > 0 else 0.0
    high = (product + root(s_high, f_low)) / (f_low * (2 * f - f_low)) if f_low > 0 else float("inf")
    return Estimate(s / f if f > 0 else float("inf"), low, high)
