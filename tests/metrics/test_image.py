"""Image AUROC and average precision, weighted, stratified, and with metadata alone."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vitad_med.data.case import Case
from vitad_med.errors import DataError
from vitad_med.metrics.image import (
    age_band,
    image_auroc,
    image_average_precision,
    metadata_null,
    stratified_auroc,
    view_age_strata,
)


def make(images: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.random(images) < 0.4
    return np.round(generator.normal(labels * 0.8, 1.0), 1), labels


def make_cases(images: int, seed: int = 0, *, informative: bool) -> list[Case]:
    generator = np.random.default_rng(seed)
    cases = []
    for i in range(images):
        label = int(generator.random() < 0.5)
        age = generator.normal(60 if label and informative else 40, 8)
        cases.append(
            Case(
                case_id=f"{i:05d}",
                patient_id=f"p{i // 2}",
                image_path=Path(f"{i}.png"),
                source="test",
                split="test",
                label=label,
                sex=("M", "F", "unknown")[int(generator.integers(3))],
                view=("PA", "AP")[int(generator.integers(2))],
                age=None if i % 11 == 0 else float(age),
            )
        )
    return cases


def test_equal_scikit_learn_with_ties() -> None:
    scores, labels = make()
    assert len(np.unique(scores)) < len(scores)
    assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert image_average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_weights_are_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = make()
    weights = np.random.default_rng(1).integers(0, 3, (7, 80)).astype(np.uint16)
    monkeypatch.setattr("vitad_med.metrics.image._CELLS", 200)  # several blocks of replicates
    aurocs, precisions = image_auroc(scores, labels, weights), image_average_precision(scores, labels, weights)
    for row, weight in enumerate(weights):
        y, s = np.repeat(labels, weight), np.repeat(scores, weight)
        assert aurocs[row] == pytest.approx(roc_auc_score(y, s), abs=1e-12)
        assert precisions[row] == pytest.approx(average_precision_score(y, s), abs=1e-12)
        assert image_auroc(scores, labels, weight) == aurocs[row]


def test_stratified_counts_pairs_of_one_stratum_only() -> None:
    scores, labels = make()
    strata = np.random.default_rng(2).choice(["a", "b", "c"], 80)
    weights = np.random.default_rng(3).integers(0, 3, (3, 80))

    def looped(weight: np.ndarray) -> float:
        wins = pairs = 0.0
        for i in np.flatnonzero(labels):
            for j in np.flatnonzero(~labels):
                if strata[i] == strata[j]:
                    both = weight[i] * weight[j]
                    wins += both * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
                    pairs += both
        return wins / pairs

    assert stratified_auroc(scores, labels, strata) == pytest.approx(looped(np.ones(80)), abs=1e-12)
    np.testing.assert_allclose(stratified_auroc(scores, labels, strata, weights), [looped(w) for w in weights])
    assert stratified_auroc(scores, labels, np.zeros(80)) == pytest.approx(image_auroc(scores, labels), abs=1e-12)


def test_stratified_removes_a_confounder() -> None:
    # The score knows the stratum and nothing else; the strata differ in their share of abnormal images.
    strata = np.repeat([0, 1], 100)
    labels = np.r_[np.arange(100) < 20, np.arange(100) < 80]
    assert image_auroc(strata, labels) == pytest.approx(0.8)
    assert stratified_auroc(strata, labels, strata) == 0.5
    assert np.isnan(stratified_auroc(strata, labels, labels))


def test_one_class_is_undefined_and_wrong_input_is_named() -> None:
    assert np.isnan(image_auroc([0.1, 0.2], [1, 1]))
    assert np.isnan(image_average_precision([0.1, 0.2], [0, 0]))
    with pytest.raises(DataError, match="1 NaN"):
        image_auroc([np.nan, 0.2], [0, 1])
    with pytest.raises(DataError, match="neither 0 nor 1"):
        image_auroc([0.1, 0.2], [0, 2])
    with pytest.raises(DataError, match="3 values for 2 scores"):
        image_auroc([0.1, 0.2], [0, 1, 1])
    with pytest.raises(DataError, match="cohort is empty"):
        image_auroc([], [])
    with pytest.raises(DataError, match="1 strata for 2 scores"):
        stratified_auroc([0.1, 0.2], [0, 1], ["a"])


def test_age_bands() -> None:
    ages = {0: "0-17", 17.9: "0-17", 18: "18-39", 39: "18-39", 40: "40-64", 64: "40-64", 65: "65+", 95: "65+"}
    assert {age: age_band(age) for age in ages} == ages
    assert age_band(None) == age_band(float("nan")) == age_band(-1) == "unknown"
    case = make_cases(2, informative=False)[0]
    assert view_age_strata([case])[0] == f"{case.view}|unknown"


def test_metadata_null_finds_what_metadata_say_and_no_more() -> None:
    labels = [case.label for case in make_cases(400, informative=True)]
    assert image_auroc(metadata_null(make_cases(400, informative=True)), labels) > 0.9
    nothing = make_cases(400, seed=1, informative=False)
    assert image_auroc(metadata_null(nothing), [case.label for case in nothing]) == pytest.approx(0.5, abs=0.08)


def test_metadata_null_sees_no_label_of_the_same_patient() -> None:
    cases = make_cases(60, informative=True)
    first = metadata_null(cases)
    np.testing.assert_array_equal(first, metadata_null(cases))
    assert np.isfinite(first).all()
    # Scores of a patient come from a model of other patients: all patients are their own fold when folds suffice.
    few = [case for case in cases if case.patient_id in {"p0", "p1", "p2", "p3"}]
    with pytest.raises(DataError, match="two patients of each class"):
        metadata_null([case for case in few if case.label == 1])
