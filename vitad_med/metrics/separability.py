"""How well features tell two groups of images apart, on patients that no classifier has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_binary, require_finite
from vitad_med.metrics.exact import exact_auroc

PROBE_STRENGTH = 0.01  # inverse of the penalty: features are more than patients, or nearly as many
NEIGHBOURS = 10


@dataclass(frozen=True)
class Separability:
    """Mean AUROC over folds; .5 is no separation. Lowest and highest fold in brackets beside it.

    Attributes:
        linear: of a logistic regression, standardised features, penalty 1 / ``PROBE_STRENGTH``.
        neighbours: of the share of the second group among the ``NEIGHBOURS`` nearest training images, Euclidean.
        linear_range, neighbours_range: lowest and highest of the folds.
        patients: of the first and of the second group.
    """

    linear: float
    neighbours: float
    linear_range: tuple[float, float]
    neighbours_range: tuple[float, float]
    patients: tuple[int, int]


def separability(
    features: ArrayLike, labels: ArrayLike, patients: Sequence[str], folds: int = 5, seed: int = 0
) -> Separability:
    """Cross-validated separation of two groups.

    Args:
        features: float [N, D], finite.
        labels: 0 or 1, [N].
        patients: [N]; all images of a patient are in the same fold, and so is a synthetic copy of one of them.
        folds: at most so many; fewer where a group has fewer patients.
        seed: of the assignment of patients to folds.

    Raises:
        DataError: a group has fewer than two patients, or a feature is not finite.
    """
    x = np.asarray(features, dtype=np.float64)
    require_finite(x, "features")
    y = as_binary(labels, len(x)).astype(np.int64)
    names = np.asarray(patients)
    counts = tuple(len(np.unique(names[y == label])) for label in (0, 1))
    if min(counts) < 2:
        raise DataError(
            f"separability is cross-validated over patients and needs two of each group, there are {counts[0]} and "
            f"{counts[1]}."
        )
    linear: list[float] = []
    neighbours: list[float] = []
    for train, test in _folds(y, names, min(folds, *counts), seed):
        scaler = StandardScaler().fit(x[train])
        known, asked, truth = scaler.transform(x[train]), scaler.transform(x[test]), y[test] == 1
        probe = LogisticRegression(C=PROBE_STRENGTH, max_iter=2000).fit(known, y[train])
        vote = KNeighborsClassifier(min(NEIGHBOURS, len(train))).fit(known, y[train])
        for found, scores in (
            (linear, probe.decision_function(asked)),
            (neighbours, vote.predict_proba(asked)[:, 1]),
        ):
            found.append(exact_auroc(scores[truth], scores[~truth]))
    if not linear:
        raise DataError("no fold holds both groups: the patients are too few to cross-validate.")
    return Separability(
        linear=float(np.mean(linear)),
        neighbours=float(np.mean(neighbours)),
        linear_range=(min(linear), max(linear)),
        neighbours_range=(min(neighbours), max(neighbours)),
        patients=(counts[0], counts[1]),
    )


def _folds(
    labels: NDArray[np.int64], patients: NDArray, count: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test images of every fold in which both groups are on both sides."""
    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    for train, test in splitter.split(np.zeros((len(labels), 1)), labels, patients):
        if len(np.unique(labels[train])) == len(np.unique(labels[test])) == 2:
            yield train, test
