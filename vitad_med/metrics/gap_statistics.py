"""AUROC of a cohort with its standard error, for many cohorts at once: what a permutation test asks thousands of times.

A cohort is a set of whole patients. Both statistics sum over patients what an image adds to the AUROC (infinitesimal
jackknife, Efron, JRSS B 54 (1992), clustered as in Obuchowski, Biometrics 53 (1997) 567-578), so that no resampling is
needed.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from vitad_med.errors import DataError
from vitad_med.metrics.bootstrap import patient_kinds
from vitad_med.metrics.checks import as_binary, as_scores
from vitad_med.metrics.conditioned import PairMatrices

# Cells of a block of cohorts; about ten arrays of 8 bytes a cell are alive at once.
_CELLS = 1 << 20


class Statistic(Protocol):
    """A figure of any set of patients.

    Attributes:
        of_image: patient of each of the N images as a number 0..P-1, in the order of the sorted patients.
        kinds: kind of each patient, int64 [P]; labels are exchanged between patients of one kind only.
    """

    of_image: NDArray[np.int64]
    kinds: NDArray[np.int64]

    def cohorts(self, members: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Value and standard error [M] of the cohorts bool [M, P]; NaN where they do not exist."""
        ...


class ConditionedStatistic:
    """Conditioned (or position) AUROC w'Kw / w'Dw of localized images.

    An image adds w_i [(Kw)_i + (K'w)_i - A ((Dw)_i + (D'w)_i)] / (w'Dw) to it; the squared sums over the images of each
    patient, times I / (I - 1) for I patients, add up to the variance.

    Args:
        matrices: pair matrices of N localized images.
        patients: patient of each image, [N].
        kinds: kind of each image's patient (``bootstrap.patient_kinds`` over *all* images of the study, taken at the
            localized ones), [N]; one kind if omitted.

    Raises:
        DataError: lengths differ, or one patient has two kinds.
    """

    def __init__(self, matrices: PairMatrices, patients: ArrayLike, kinds: ArrayLike | None = None) -> None:
        self.of_image = _number(patients, len(matrices.K))
        own = np.zeros(len(self.of_image), dtype=np.int64) if kinds is None else np.asarray(kinds).ravel()
        self.kinds = by_patient(own, self.of_image, "kinds")
        order = np.argsort(self.of_image, kind="stable")
        first = np.searchsorted(self.of_image[order], np.arange(len(self.kinds)))

        def between_patients(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
            rows = np.add.reduceat(matrix[order], first, axis=0)
            own = np.add.reduceat(rows[:, order], first, axis=1)
            return own + own.T

        # A quadratic form sees the symmetric part of its matrix only: w'(K + K')w = 2 w'Kw.
        self._wins = between_patients(matrices.K)
        self._pairs = between_patients(matrices.D)

    def cohorts(self, members: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Value and standard error [M] of the cohorts bool [M, P]; NaN where they do not exist."""
        values, errors = np.full(len(members), np.nan), np.full(len(members), np.nan)
        for block in _blocks(len(members), len(self.kinds)):
            w = members[block].T.astype(np.float64)
            wins, pairs = self._wins @ w, self._pairs @ w
            total = np.einsum("pm,pm->m", w, pairs)
            with np.errstate(invalid="ignore", divide="ignore"):
                values[block] = np.einsum("pm,pm->m", w, wins) / total
                influence = 2 * w * (wins - values[block] * pairs) / total
                patients = w.sum(axis=0)
                variance = np.einsum("pm,pm->m", influence, influence) * patients / (patients - 1)
            errors[block] = np.sqrt(np.where(patients > 1, variance, np.nan))
        return values, errors


class ImageStatistic:
    """Image AUROC with Obuchowski's standard error, as ``clustered.delong_clustered`` gives it for one cohort.

    Scores are sorted once; a cohort takes cumulated counts over the sorted images, whatever their number.

    Args:
        scores: [N], finite, higher is more abnormal.
        labels: 0 normal or 1 abnormal, [N].
        patients: patient of each image, [N].

    Raises:
        DataError: lengths differ, scores are not finite, labels are not binary.
    """

    def __init__(self, scores: ArrayLike, labels: ArrayLike, patients: ArrayLike) -> None:
        s = as_scores(scores)
        y = as_binary(labels, len(s))
        self.of_image = _number(patients, len(s))
        self.kinds = by_patient(patient_kinds(self.of_image, y), self.of_image, "kinds")
        order = np.argsort(s, kind="stable")
        abnormal, normal = order[y[order]], order[~y[order]]
        self._abnormal, self._normal = self.of_image[abnormal], self.of_image[normal]
        # Rows of the cumulated counts at which the images of the other class lie, below and up to ties.
        self._of_abnormal = [np.searchsorted(s[normal], s[abnormal], side) for side in ("left", "right")]
        self._of_normal = [np.searchsorted(s[abnormal], s[normal], side) for side in ("left", "right")]
        self._sum_abnormal, self._m = self._summing(self._abnormal)
        self._sum_normal, self._n = self._summing(self._normal)

    def cohorts(self, members: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Value and standard error [M] of the cohorts bool [M, P]; NaN where they do not exist."""
        values, errors = np.full(len(members), np.nan), np.full(len(members), np.nan)
        for block in _blocks(len(members), len(self.of_image)):
            w = members[block].T.astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                values[block], errors[block] = self._block(w)
        return values, errors

    def _block(self, w: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        m, n = self._m @ w, self._n @ w
        below = self._sum_abnormal @ _half_way(_cumulated(w[self._normal]), *self._of_abnormal)
        not_above = self._sum_normal @ _half_way(_cumulated(w[self._abnormal]), *self._of_normal)
        aurocs = np.einsum("pm,pm->m", w, below) / (m * n)
        x = w * (below / n - self._m[:, None] * aurocs)
        z = w * (self._n[:, None] * (1 - aurocs) - not_above / m)
        with_abnormal, with_normal = (self._m > 0) @ w, (self._n > 0) @ w
        patients = w.sum(axis=0)
        s10 = with_abnormal / (with_abnormal - 1) * np.einsum("pm,pm->m", x, x)
        s01 = with_normal / (with_normal - 1) * np.einsum("pm,pm->m", z, z)
        s11 = patients / (patients - 1) * np.einsum("pm,pm->m", x, z)
        variance = s10 / m**2 + s01 / n**2 + 2 * s11 / (m * n)
        enough = np.minimum(with_abnormal, with_normal) > 1
        # The product term can make a variance that is zero negative by rounding.
        return aurocs, np.sqrt(np.where(enough, np.maximum(variance, 0), np.nan))

    def _summing(self, of_image: NDArray[np.int64]) -> tuple[csr_array, NDArray[np.float64]]:
        """Matrix [P, images] that sums over the images of each patient, and their number."""
        shape = (len(self.kinds), len(of_image))
        matrix = csr_array((np.ones(len(of_image)), (of_image, np.arange(len(of_image)))), shape=shape)
        return matrix, np.bincount(of_image, minlength=len(self.kinds)).astype(np.float64)


def by_patient(values: NDArray, of_image: NDArray[np.int64], what: str) -> NDArray:
    """Values [P] of the patients from those of their images [N].

    Raises:
        DataError: lengths differ, or a patient has two values.
    """
    if len(values) != len(of_image):
        raise DataError(f"{what}: {len(values)} values for {len(of_image)} images; give one to each image.")
    own = np.empty(int(of_image.max()) + 1, dtype=values.dtype)
    own[of_image] = values
    mixed = len(np.unique(of_image[own[of_image] != values]))
    if mixed:
        raise DataError(
            f"{what}: {mixed} patients have images with different values; compare cohorts that share patients with "
            "bootstrap_gap_test."
        )
    return own


def _number(patients: ArrayLike, images: int) -> NDArray[np.int64]:
    ids = np.asarray(patients).ravel()
    if len(ids) != images or not images:
        raise DataError(f"{len(ids)} patients for {images} images; give one patient to each of at least one image.")
    return np.unique(ids, return_inverse=True)[1].astype(np.int64)


def _blocks(cohorts: int, rows: int) -> list[slice]:
    size = max(1, _CELLS // rows)
    return [slice(start, start + size) for start in range(0, cohorts, size)]


def _cumulated(w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of the first 0, 1, ... rows, [rows + 1, M]."""
    sums = np.zeros((len(w) + 1, w.shape[1]))
    np.cumsum(w, axis=0, out=sums[1:])
    return sums


def _half_way(sums: NDArray[np.float64], low: NDArray, high: NDArray) -> NDArray[np.float64]:
    return (sums[low] + sums[high]) / 2
