"""What age, sex and view alone say about the label: the null against which every image AUROC is read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vitad_med.data.case import UNKNOWN, Case
from vitad_med.errors import DataError

AGE_BANDS = ((0, 17), (18, 39), (40, 64), (65, None))


def age_band(age: float | None) -> str:
    """Name of the age band: ``0-17``, ``18-39``, ``40-64``, ``65+`` or ``unknown``."""
    if age is None or not np.isfinite(age) or age < 0:
        return UNKNOWN
    for low, high in AGE_BANDS:
        if high is None:
            return f"{low}+"
        if age < high + 1:
            return f"{low}-{high}"
    return UNKNOWN


def view_age_strata(cases: Sequence[Case]) -> NDArray[np.str_]:
    """Stratum of each image for the conditioned image AUROC: view x age band, e.g. ``PA|40-64``."""
    return np.array([f"{case.view}|{age_band(case.age)}" for case in cases])


def metadata_null(cases: Sequence[Case], folds: int = 5, seed: int = 0, repeats: int = 10) -> NDArray[np.float64]:
    """Score each image by a logistic model that has seen no pixel and no image of the same patient.

    The features are age, age squared, sex, view and the product of each two of them, standardised on the training
    folds. A missing age takes the mean of the training folds and a missing sex or view the middle between its two
    values; each is flagged by a feature of its own.

    Args:
        cases: images of both classes.
        folds: number of folds; all images of a patient are in the same one.
        seed: of the assignments of patients to folds.
        repeats: assignments whose log odds are averaged.

    Returns:
        float64 [N], log odds of being abnormal.

    Raises:
        DataError: fewer than two patients have images of one of the classes.
    """
    labels = np.array([case.label for case in cases])
    patients = np.array([case.patient_id for case in cases])
    per_class = [len(np.unique(patients[labels == label])) for label in (0, 1)]
    if min(per_class) < 2:
        raise DataError(
            f"the metadata null needs two patients of each class, there are {per_class[0]} with normal and "
            f"{per_class[1]} with abnormal images."
        )
    columns = _columns(cases)
    # One assignment of patients to folds moves the AUROC by several hundredths; the mean of many does not.
    scores = np.zeros(len(cases))
    for repeat in range(repeats):
        splitter = StratifiedGroupKFold(n_splits=min(folds, *per_class), shuffle=True, random_state=seed + repeat)
        for train, test in splitter.split(np.zeros((len(cases), 1)), labels, patients):
            scores[test] += _log_odds(columns, labels, train, test) / repeats
    return scores


def _log_odds(
    columns: NDArray[np.float64], labels: NDArray[np.int64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log odds of the test fold from a model of the training folds; zeros where those hold one class only."""
    if len(np.unique(labels[train])) < 2:
        return np.zeros(len(test))
    ages = columns[train, 0]
    ages = ages[~np.isnan(ages)]
    features = _features(columns, float(np.mean(ages)) if len(ages) else 0.0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features[train], labels[train])
    return np.asarray(model.decision_function(features[test]), dtype=np.float64)


def _columns(cases: Sequence[Case]) -> NDArray[np.float64]:
    """Age in years (NaN when unknown), sex and view as -1, 0 (unknown) or 1: [N, 3]."""
    return np.array(
        [
            (
                np.nan if case.age is None else case.age,
                {"M": 1.0, "F": -1.0}.get(case.sex, 0.0),
                {"AP": 1.0, "PA": -1.0}.get(case.view, 0.0),
            )
            for case in cases
        ],
        dtype=np.float64,
    )


def _features(columns: NDArray[np.float64], age_fill: float) -> NDArray[np.float64]:
    age, sex, view = columns.T
    missing = [np.isnan(age), sex == 0, view == 0]
    # Centred at a fixed adult age, so that age and its square are not collinear.
    age = (np.where(missing[0], age_fill, age) - 50.0) / 20.0
    main = [age, age**2, sex, view]
    products = [first * second for first, second in combinations(main, 2)]
    return np.stack([*main, *products, *(flag.astype(np.float64) for flag in missing)], axis=1)
