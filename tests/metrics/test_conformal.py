"""Conformal p-values, thresholds and bounds against counting, exact distributions and simulated patients."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from vitad_med.errors import DataError
from vitad_med.metrics.conformal import (
    conformal_p_values,
    lowest_rate,
    one_image_per_patient,
    threshold,
    training_conditional_bound,
)

PATIENTS = np.array(["a", "b", "a", "c", "b", "b"])
IMAGES = np.array(["1", "2", "3", "4", "5", "6"])


def test_one_image_of_each_patient_whatever_the_order() -> None:
    drawn = one_image_per_patient(PATIENTS, IMAGES, seed=3)
    assert sorted(PATIENTS[drawn]) == ["a", "b", "c"]
    assert (np.diff(drawn) > 0).all()
    order = np.random.default_rng(0).permutation(6)
    again = one_image_per_patient(PATIENTS[order], IMAGES[order], seed=3)
    assert set(IMAGES[order][again]) == set(IMAGES[drawn])
    without_a = PATIENTS != "a"
    others = one_image_per_patient(PATIENTS[without_a], IMAGES[without_a], seed=3)
    assert set(IMAGES[without_a][others]) == set(IMAGES[drawn]) - set(IMAGES[PATIENTS == "a"])


def test_every_image_of_a_patient_is_as_likely() -> None:
    counts = np.zeros(6)
    for seed in range(600):
        counts[one_image_per_patient(PATIENTS, IMAGES, seed)] += 1
    assert counts[3] == 600
    for patient, images in (("a", 2), ("b", 3)):
        for count in counts[patient == PATIENTS]:
            assert binomtest(int(count), 600, 1 / images).pvalue > 0.001


def test_drawing_refuses_doubles() -> None:
    with pytest.raises(DataError, match="occurs twice"):
        one_image_per_patient(["a", "a"], ["1", "1"])
    with pytest.raises(DataError, match="2 patients for 1 images"):
        one_image_per_patient(["a", "a"], ["1"])
    assert len(one_image_per_patient(["a", "b"], ["1", "1"])) == 2


scores_with_ties = st.lists(st.integers(0, 12).map(float), min_size=1, max_size=40)


@given(scores_with_ties, scores_with_ties)
@settings(max_examples=100, deadline=None)
def test_p_values_are_counted(calibration: list[float], scores: list[float]) -> None:
    expected = [(1 + sum(c >= s for c in calibration)) / (len(calibration) + 1) for s in scores]
    np.testing.assert_array_equal(conformal_p_values(calibration, scores), expected)


@given(
    scores_with_ties, scores_with_ties, st.one_of(st.floats(0.001, 0.999), st.integers(1, 99).map(lambda i: i / 100))
)
@settings(max_examples=300, deadline=None)
def test_flagged_exactly_when_p_is_at_most_the_rate(calibration: list[float], scores: list[float], rate: float) -> None:
    if rate < 1 / (len(calibration) + 1):
        with pytest.raises(DataError, match="normal calibration patients"):
            threshold(calibration, rate)
        return
    found = threshold(calibration, rate)
    np.testing.assert_array_equal(found.flags(scores), conformal_p_values(calibration, scores) <= rate)
    # No smaller threshold is as safe: with one rank more the rate could exceed what was asked for.
    assert found.expected <= rate < (found.k + 1) / (found.n + 1)


@pytest.mark.parametrize("n", [9, 19, 99, 999])
def test_rates_that_meet_a_p_value_exactly(n: int) -> None:
    # Products such as 0.29 * 100 fall one ulp short; the rank must not.
    for k in range(1, n + 1):
        assert threshold(np.arange(n), k / (n + 1)).k == k


@pytest.mark.parametrize(("rate", "needed"), [(0.1, 9), (0.05, 19), (0.01, 99), (0.03, 33), (0.001, 999)])
def test_a_rate_out_of_reach_says_how_many_patients_reach_it(rate: float, needed: int) -> None:
    assert Fraction(1, needed + 1) <= Fraction(str(rate)) < Fraction(1, needed)
    assert threshold(np.arange(needed), rate).k == 1
    with pytest.raises(
        DataError, match=rf"at least {needed} normal calibration patients; with {needed - 1} the lowest"
    ):
        threshold(np.arange(needed - 1), rate)
    assert lowest_rate(needed) == pytest.approx(1 / (needed + 1))


@pytest.mark.parametrize(("n", "k"), [(20, 1), (99, 10), (500, 25), (7, 7)])
def test_bound_by_the_binomial_distribution(n: int, k: int) -> None:
    # The k-th largest of n uniforms is above 1 - limit unless fewer than k of them are.
    limit = training_conditional_bound(n, k)
    assert binom.cdf(k - 1, n, limit) == pytest.approx(0.05)
    assert training_conditional_bound(n, k, 0.5) < limit
    assert k / (n + 1) < limit


def test_bound_holds_for_95_of_100_calibration_sets() -> None:
    generator = np.random.default_rng(0)
    limit = training_conditional_bound(99, 10)
    continuous = generator.random((4000, 99))
    rates = 1 - np.sort(continuous, axis=1)[:, -10]
    assert binomtest(int((rates <= limit).sum()), 4000, 0.95).pvalue > 0.001
    assert rates.mean() == pytest.approx(threshold(continuous[0], 0.1).expected, abs=0.002)
    # Scores in steps of 1/20, P(S > t) = 1 - floor(20 t + 1) / 20 for t on a step.
    tied = np.floor(20 * continuous) / 20
    values = np.array([threshold(row, 0.1).value for row in tied])
    tied_rates = 1 - (np.rint(20 * values) + 1) / 20
    assert (tied_rates <= limit).mean() >= 0.95


def test_wrong_input() -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        threshold([1, 2], 1.0)
    with pytest.raises(DataError, match="at least one normal image"):
        conformal_p_values([], [1])
    with pytest.raises(DataError, match=r"calibration scores: .*1 NaN"):
        threshold([1, np.nan], 0.5)
    with pytest.raises(DataError, match=r"must lie in 1\.\.5"):
        training_conditional_bound(5, 6)
    with pytest.raises(DataError, match="confidence"):
        training_conditional_bound(5, 1, 95)


@pytest.mark.slow
def test_false_positive_rate_holds_with_repeated_patients() -> None:
    """Over simulated studies where one patient in eight has 30 images, with lower scores than the others' one image.

    Pooling all images lets those few patients set the threshold, far too low for a new patient.
    """
    generator = np.random.default_rng(0)
    studies, patients, rate = 8000, 39, 0.1
    drawn_flags = pooled_flags = 0
    images = np.where(np.arange(patients + 1) % 8 == 0, 30, 1)
    for study in range(studies):
        # The last patient is the new one; which patients have many images is chance, the same for old and new ones.
        of_each = generator.permutation(images)
        ids = np.repeat(np.arange(patients + 1), of_each)
        level = generator.normal(size=patients + 1) - 1.5 * (of_each > 1)
        scores = level[ids] + 0.3 * generator.normal(size=len(ids))
        new = one_image_per_patient(ids, np.arange(len(ids)), seed=study)[-1]
        old = ids < patients
        drawn = one_image_per_patient(ids[old], np.flatnonzero(old), seed=study)
        drawn_flags += bool(threshold(scores[drawn], rate).flags(scores[[new]])[0])
        pooled_flags += bool(threshold(scores[old], rate).flags(scores[[new]])[0])
    print(
        f"\nfalse-positive rate at {rate}: one image a patient {drawn_flags / studies:.4f}, "
        f"all images {pooled_flags / studies:.4f}"
    )
    # 39 patients reach 0.1 = 4 / 40 exactly, and continuous scores make the rate equal to it.
    assert binomtest(drawn_flags, studies, rate).pvalue > 0.001
    assert binomtest(pooled_flags, studies, rate, alternative="greater").pvalue < 1e-6
