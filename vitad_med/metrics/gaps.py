"""Tests of a gap: does a figure differ between the levels of an attribute such as sex or view?

A gap is the figure of the images at one level minus that of the images at the other levels. Where every patient has one
level (sex), patients' levels are exchanged: :func:`permutation_test`. Where a patient has images at several (view), the
clustered bootstrap: :func:`bootstrap_gap_test`. :func:`between_patients` tells which. Several levels are tested at once
by the largest studentised gap. :func:`holm` corrects for several attributes and figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError
from vitad_med.metrics.gap_statistics import Statistic, by_patient

# Permuted statistics this close to the observed one are the same sums in another order.
_SAME = 1 - 1e-9


@dataclass(frozen=True)
class GapTest:
    """Result of a test.

    Attributes:
        p: p-value of "no level differs from the rest", in (0, 1]; NaN where a gap does not exist.
        statistic: the largest |difference| / error over the levels; NaN with p.
        levels: the level numbers, ascending, [L].
        differences: figure at the level minus figure at the other levels, float64 [L].
        errors: standard errors of the differences, float64 [L].
    """

    p: float
    statistic: float
    levels: NDArray[np.int64]
    differences: NDArray[np.float64]
    errors: NDArray[np.float64]


def between_patients(levels: ArrayLike, patients: ArrayLike) -> bool:
    """Whether every patient's images have one level.

    Args:
        levels: level of each image, [N], numbers or text.
        patients: patient of each image, [N].

    Raises:
        DataError: lengths differ.
    """
    given, ids = np.asarray(levels).ravel(), np.asarray(patients).ravel()
    if len(given) != len(ids):
        raise DataError(f"{len(given)} levels for {len(ids)} images; give one level to each image.")
    of_image = np.unique(ids, return_inverse=True)[1]
    level = np.unique(given, return_inverse=True)[1]
    one = np.zeros(len(ids), dtype=np.int64)
    one[of_image] = level
    return bool((one[of_image] == level).all())


def permutation_test(statistic: Statistic, levels: ArrayLike, permutations: int = 2000, seed: int = 0) -> GapTest:
    """Test a gap by exchanging the levels of patients.

    Levels are permuted between patients of one kind (with normal images only, abnormal images only, both), so that
    every level keeps its number of patients of each kind. The statistic is the largest |A_level - A_rest| / error over
    the levels; level and rest share no patient, so their variances add. p = (1 + #{permuted >= observed}) / (1 +
    permutations) (Phipson and Smyth, 2010), exact when levels are exchangeable; studentised, it holds
    asymptotically also when the levels have the same AUROC but different spread or size (Janssen, 1997; Chung and
    Romano, Annals of Statistics 41 (2013)).

    Args:
        statistic: figure of any set of patients, over N images.
        levels: level of each image, int [N], the same for all images of a patient; images with a negative level take no
            part.
        permutations: number of random permutations.
        seed: the same seed gives the same p, whatever the order of the images.

    Raises:
        DataError: a patient has two levels, or there are fewer than two levels.
    """
    own = by_patient(np.asarray(levels).ravel().astype(np.int64), statistic.of_image, "levels")
    names = _require_levels(own)
    taking_part = own >= 0
    drawn = np.repeat(own[None], permutations + 1, axis=0)
    generator = np.random.default_rng(seed)
    # The first row stays as observed, so that the same sums give the observed statistic.
    for kind in np.unique(statistic.kinds):
        members = np.flatnonzero((statistic.kinds == kind) & taking_part)
        drawn[1:, members] = generator.permuted(drawn[1:, members], axis=1)
    differences, errors = np.empty((2, permutations + 1, len(names)))
    for column, name in enumerate(names):
        if len(names) == 2 and column == 1:
            differences[:, 1], errors[:, 1] = -differences[:, 0], errors[:, 0]
            break
        value, error = statistic.cohorts(drawn == name)
        rest, rest_error = statistic.cohorts((drawn != name) & taking_part)
        differences[:, column] = value - rest
        errors[:, column] = np.hypot(error, rest_error)
    return _result(names, differences[0], errors[0], _studentised(differences, errors))


def bootstrap_gap_test(
    differences: ArrayLike, replicates: ArrayLike, levels: ArrayLike, patients: int | None = None
) -> GapTest:
    """Test a gap from replicates of the clustered bootstrap, for levels that share patients.

    The replicates of a difference, centred at the observed difference d, show how it would vary if there were no gap
    (Efron and Tibshirani 1993, chapter 16; max-T over levels: Westfall and Young 1993). With the standard deviation
    s_l of the replicates of level l, p = (1 + #{max_l |d*_l - d_l| / s_l >= max_l |d_l| / s_l}) / (1 + R). The
    deviations of few patients are too narrow by sqrt((n - 1) / n); with ``patients`` they are widened by its inverse.

    Args:
        differences: figure at each level minus figure at the other levels, [L].
        replicates: the same in each replicate, paired over levels, [R, L].
        levels: the level numbers, [L].
        patients: number of patients n of the smallest level's smaller class.

    Returns:
        The result; p is NaN where a difference does not exist in the sample or in more than 1 % of the replicates.

    Raises:
        DataError: shapes differ, or there are no replicates.
    """
    d = np.asarray(differences, dtype=np.float64)
    r = np.asarray(replicates, dtype=np.float64)
    names = np.asarray(levels).ravel().astype(np.int64)
    if d.ndim != 1 or r.ndim != 2 or r.shape[1] != len(d) or len(names) != len(d) or not r.size:
        raise DataError(
            f"differences {list(d.shape)}, replicates {list(r.shape)} and levels {list(names.shape)} "
            "must have shapes [L], [R, L] and [L]."
        )
    kept = r[np.isfinite(r).all(axis=1)]
    if len(kept) < max(2, 0.99 * len(r)) or not np.isfinite(d).all():
        return GapTest(float("nan"), float("nan"), names, d, np.full(len(d), np.nan))
    wider = 1.0 if patients is None else float(np.sqrt(patients / (patients - 1)))
    errors = kept.std(axis=0, ddof=1) * wider
    observed = _studentised(d[None], errors[None])
    return _result(names, d, errors, np.concatenate([observed, _studentised((kept - d) * wider, errors[None])]))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values: reject those at most alpha, and the chance of any false rejection is at most alpha.

    Holm, Scandinavian Journal of Statistics 6 (1979).

    Args:
        p_values: p-values in 0..1 of a family; None or NaN where a test could not be made, which does not count as a
            member.

    Returns:
        Adjusted p-values in the same order, None where there was none.

    Raises:
        DataError: a p-value is outside 0..1.
    """
    given = [(float(p), place) for place, p in enumerate(p_values) if p is not None and not np.isnan(p)]
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, place) in enumerate(sorted(given)):
        if not 0 <= p <= 1:
            raise DataError(f"p-value {p} is outside 0..1.")
        running = max(running, min(1.0, (len(given) - rank) * p))
        adjusted[place] = running
    return adjusted


def _require_levels(own: NDArray[np.int64]) -> NDArray[np.int64]:
    names = np.unique(own[own >= 0])
    if len(names) < 2:
        raise DataError(f"a gap needs images at two levels or more, not at {len(names)}.")
    return names


def _studentised(differences: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest |difference| / error of each row; a difference without any error counts as infinitely clear."""
    size = np.abs(differences)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = size / errors
    ratio = np.where((size < 1e-12) & (errors < 1e-12), 0.0, ratio)
    return ratio.max(axis=1)


def _result(
    names: NDArray[np.int64],
    differences: NDArray[np.float64],
    errors: NDArray[np.float64],
    statistics: NDArray[np.float64],
) -> GapTest:
    """p-value of the first statistic among all of them; one that does not exist counts against the gap."""
    observed = float(statistics[0])
    if np.isnan(observed):
        return GapTest(float("nan"), observed, names, differences, errors)
    as_extreme = int(np.count_nonzero(~(statistics[1:] < observed * _SAME)))
    return GapTest((1 + as_extreme) / len(statistics), observed, names, differences, errors)
