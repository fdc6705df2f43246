"""Standard errors of the AUROC for several images per patient, without resampling.

Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53 (1997) 567-578: DeLong's placement values
summed by patient. With one image per patient it is DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_binary, as_scores


def delong_clustered(scores: ArrayLike, labels: ArrayLike, patients: ArrayLike) -> tuple[float, float]:
    """AUROC and its standard error.

    Args:
        scores: [N], finite, higher is more abnormal.
        labels: 0 or 1, [N].
        patients: patient of each image, [N]; one patient may have images of both classes.

    Returns:
        (AUROC, standard error). The AUROC is NaN when a class is empty; the standard error is NaN when a class has
        fewer than two patients.

    Raises:
        DataError: lengths differ, scores are not finite or labels are not binary.
    """
    values, covariance = delong_clustered_covariance(np.asarray(scores)[None], labels, patients)
    return float(values[0]), float(np.sqrt(covariance[0, 0]))


def delong_clustered_covariance(
    scores: ArrayLike, labels: ArrayLike, patients: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROC of several methods on the same images, and their covariance (for paired differences).

    With V10 and V01 the placement values of abnormal and normal images, summed over the m_i abnormal and n_i normal
    images of patient i, out of I patients of whom I10 and I01 have images of the class, and M and N images in all:
    S10 = I10 / ((I10 - 1) M) sum_i (V10_i - m_i A)(V10_i - m_i A)', S01 likewise,
    S11 = I / (I - 1) sum_i (V10_i - m_i A)(V01_i - n_i A)', and
    cov = S10 / M + S01 / N + (S11 + S11') / (M N).

    Args:
        scores: [methods, N], the rest as in :func:`delong_clustered`.

    Returns:
        float64 [methods] and float64 [methods, methods].
    """
    s = np.asarray(scores)
    if s.ndim != 2:
        raise DataError(f"scores of shape {list(s.shape)} must be [methods, images].")
    y = as_binary(labels, s.shape[1])
    ids = np.asarray(patients).ravel()
    if len(ids) != s.shape[1]:
        raise DataError(f"{len(ids)} patients for {s.shape[1]} scores; give one patient to each image.")
    m, n = int(y.sum()), int((~y).sum())
    methods = len(s)
    if not (m and n):
        return np.full(methods, np.nan), np.full((methods, methods), np.nan)
    names, of_image = np.unique(ids, return_inverse=True)
    abnormal, normal = of_image[y], of_image[~y]
    placements = [_placements(as_scores(row), y) for row in s]
    aurocs = np.array([v10.mean() for v10, _ in placements])
    m_i, n_i = np.bincount(abnormal, minlength=len(names)), np.bincount(normal, minlength=len(names))
    x = np.stack([np.bincount(abnormal, v10, len(names)) for v10, _ in placements]) - aurocs[:, None] * m_i
    z = np.stack([np.bincount(normal, v01, len(names)) for _, v01 in placements]) - aurocs[:, None] * n_i
    with_abnormal, with_normal = np.count_nonzero(m_i), np.count_nonzero(n_i)
    if min(with_abnormal, with_normal) < 2:
        return aurocs, np.full((methods, methods), np.nan)
    s10 = with_abnormal / ((with_abnormal - 1) * m) * (x @ x.T)
    s01 = with_normal / ((with_normal - 1) * n) * (z @ z.T)
    s11 = len(names) / (len(names) - 1) * (x @ z.T)
    return aurocs, s10 / m + s01 / n + (s11 + s11.T) / (m * n)


def _placements(scores: NDArray, labels: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of normal scores below each abnormal one, and of abnormal scores above each normal one, ties one half."""
    pos, neg = scores[labels], scores[~labels]
    sorted_pos, sorted_neg = np.sort(pos), np.sort(neg)
    below = np.searchsorted(sorted_neg, pos, "left") + np.searchsorted(sorted_neg, pos, "right")
    not_above = np.searchsorted(sorted_pos, neg, "left") + np.searchsorted(sorted_pos, neg, "right")
    return below / (2 * neg.size), 1 - not_above / (2 * pos.size)
