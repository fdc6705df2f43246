"""Standardised cohorts have the pooled mix, and their figures are those of the reweighted sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from vitad_med.errors import DataError
from vitad_med.metrics.bootstrap import patient_weights
from vitad_med.metrics.image import image_auroc
from vitad_med.metrics.standardisation import Standardisation


def mixes(strata: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    return {name: weights[strata == name].sum() / weights.sum() for name in np.unique(strata[weights > 0])}


def test_by_hand() -> None:
    strata = np.array(["PA", "PA", "PA", "AP", "AP", "PA", "AP", "AP", "lateral"])
    levels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    own = Standardisation(strata, levels)
    assert own.support == pytest.approx(8 / 9)
    # Pooled 4 PA and 4 AP. Level 0 has 3 PA and 1 AP, level 1 has 1 PA and 3 AP.
    assert own.weights(levels == 0) == pytest.approx([4 / 3, 4 / 3, 4 / 3, 4, 0, 0, 0, 0, 0])
    assert own.weights(levels == 1) == pytest.approx([0, 0, 0, 0, 4 / 3, 4, 4 / 3, 4 / 3, 0])


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_every_cohort_and_its_rest_have_the_pooled_mix(seed: int, levels: int, strata: int) -> None:
    generator = np.random.default_rng(seed)
    level = np.concatenate([np.arange(levels), generator.integers(-1, levels, 60)])
    stratum = generator.integers(0, strata, len(level)).astype(str)
    own = Standardisation(stratum, level)
    present = [set(stratum[level == name]) for name in range(levels)]
    common = set.intersection(*present)
    np.testing.assert_array_equal(own.common, np.isin(stratum, list(common)) & (level >= 0))
    assert own.support == pytest.approx(own.common.sum() / (level >= 0).sum())
    if not common:
        assert not own.weights(level == 0).any()
        return
    pooled = mixes(stratum, own.common.astype(float))
    for name in range(levels):
        for cohort in (level == name, level != name):
            weights = own.weights(cohort)
            assert mixes(stratum, weights) == pytest.approx(pooled)
            assert not weights[~cohort | ~own.common].any()


def test_replicates_are_the_standardisation_of_the_repeated_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    ids = np.repeat(np.arange(60), 3)
    levels, labels = (ids < 30).astype(int), generator.random(180) < 0.5
    strata = generator.integers(0, 3, 180)
    scores = generator.normal(size=180)
    counts = patient_weights(ids, labels, 7, seed=1)
    monkeypatch.setattr("vitad_med.metrics.standardisation._CELLS", 400)
    own = Standardisation(strata, levels)
    blocks = list(own.blocks(levels == 1, counts))
    assert [len(block) for block in blocks] == [2, 2, 2, 1]
    weights = np.concatenate(blocks)
    aurocs = image_auroc(scores, labels, weights)
    for row, count, value in zip(weights, counts, aurocs, strict=True):
        repeated = np.repeat(np.arange(180), count)
        again = Standardisation(strata[repeated], levels[repeated]).weights(levels[repeated] == 1)
        np.testing.assert_allclose(np.bincount(repeated, again, 180), row, atol=1e-12)
        assert roc_auc_score(labels[repeated], scores[repeated], sample_weight=again) == pytest.approx(value)
    np.testing.assert_array_equal(own.weights(levels == 1, counts[0]), weights[0])


def test_a_stratum_lost_in_a_replicate_drops_out() -> None:
    own = Standardisation(["a", "b", "a", "b"], [0, 0, 1, 1])
    weights = own.weights(np.array([True, True, False, False]), np.array([[1, 0, 1, 2]]))
    np.testing.assert_array_equal(weights, [[2, 0, 0, 0]])


def test_standardising_removes_a_gap_that_is_only_mix() -> None:
    generator = np.random.default_rng(2)
    images = 20000
    levels = generator.integers(0, 2, images)
    labels = generator.random(images) < 0.5
    # Large abnormalities are easy; level 1 has more of them.
    large = labels & (generator.random(images) < np.where(levels == 1, 0.8, 0.3))
    scores = generator.normal(labels * 0.5 + large * 1.5)
    own = Standardisation(np.where(large, "large", np.where(labels, "small", "normal")), levels)

    def gap(first: np.ndarray, second: np.ndarray) -> float:
        return image_auroc(scores, labels, first) - image_auroc(scores, labels, second)

    assert gap(levels == 1, levels == 0) > 0.1
    assert gap(own.weights(levels == 1), own.weights(levels == 0)) == pytest.approx(0, abs=0.015)


def test_wrong_input() -> None:
    with pytest.raises(DataError, match="2 strata for 3 images"):
        Standardisation(["a", "b"], [0, 1, 1])
    with pytest.raises(DataError, match="not at 1"):
        Standardisation(["a", "b"], [0, -1])
    own = Standardisation(["a", "b"], [0, 1])
    with pytest.raises(DataError, match="cohort must be bool"):
        own.weights(np.array([0, 1]))
    with pytest.raises(DataError, match="bootstrap counts"):
        own.weights(np.array([True, False]), np.ones(3))
