"""Patient-clustered bootstrap: strata, clusters, seeds, intervals and the rule for small cohorts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from vitad_med.errors import DataError
from vitad_med.metrics.bootstrap import (
    interval,
    logit_interval,
    no_interval_reason,
    patient_kinds,
    patient_weights,
)
from vitad_med.metrics.image import image_auroc

PATIENTS = np.array(["a", "a", "b", "c", "c", "d", "e", "f", "f", "g"])
LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 0, 1, 0])


def test_patients_are_drawn_whole_and_within_their_stratum() -> None:
    weights = patient_weights(PATIENTS, LABELS, replicates=500, seed=1)
    assert weights.shape == (500, 10)
    assert weights.dtype == np.uint16
    for patient in np.unique(PATIENTS):
        of_patient = weights[:, patient == PATIENTS]
        assert (of_patient == of_patient[:, :1]).all()
    first = np.array([np.flatnonzero(patient == PATIENTS)[0] for patient in "abcdefg"])
    drawn = weights[:, first]
    assert (drawn[:, [0, 1, 6]].sum(axis=1) == 3).all()  # normal images only
    assert (drawn[:, [2, 3, 4]].sum(axis=1) == 3).all()  # abnormal images only
    assert (drawn[:, 5] == 1).all()  # both, a stratum of one
    # With replacement: each patient occurs once on average, and is absent from (1 - 1/3)^3 of the replicates.
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=0.15)
    assert (drawn[:, 0] == 0).mean() == pytest.approx((2 / 3) ** 3, abs=0.08)


def test_seed_decides_and_the_order_of_images_does_not() -> None:
    weights = patient_weights(PATIENTS, LABELS, 50, seed=3)
    np.testing.assert_array_equal(weights, patient_weights(PATIENTS, LABELS, 50, seed=3))
    assert (weights != patient_weights(PATIENTS, LABELS, 50, seed=4)).any()
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_array_equal(patient_weights(PATIENTS[order], LABELS[order], 50, seed=3), weights[:, order])
    scores = np.random.default_rng(1).normal(size=10)
    twice = [interval(image_auroc(scores, LABELS, patient_weights(PATIENTS, LABELS, 50, 3))) for _ in range(2)]
    assert twice[0] == twice[1]


def test_interval_is_the_percentiles() -> None:
    values = np.random.default_rng(0).permutation(np.linspace(0, 1, 2001))
    assert interval(values) == pytest.approx((0.025, 0.975))
    assert interval(values, level=0.8) == pytest.approx((0.1, 0.9))
    values[:15] = np.nan
    assert np.isfinite(interval(values)).all()
    values[:30] = np.nan
    assert np.isnan(interval(values)).all()
    with pytest.raises(DataError, match="level"):
        interval(values, 95)
    with pytest.raises(DataError, match="non-empty"):
        interval([])


def test_kinds_of_patients() -> None:
    #                                       a  a  b  c  c  d  e  f  f  g
    np.testing.assert_array_equal(patient_kinds(PATIENTS, LABELS), [1, 1, 1, 2, 2, 2, 2, 3, 3, 1])
    np.testing.assert_array_equal(patient_kinds(PATIENTS[::-1], LABELS[::-1]), [1, 3, 3, 2, 2, 2, 2, 1, 1, 1])


def test_expanded_percentiles() -> None:
    # For the mean of a normal sample Student's interval is exact, and the expanded percentiles come close to it.
    sample = np.random.default_rng(0).normal(size=12)
    counts = np.random.default_rng(1).multinomial(12, np.full(12, 1 / 12), size=20000)
    values = counts @ sample / 12
    low, high = interval(values, patients=12)
    student = t.interval(0.95, 11, sample.mean(), sample.std(ddof=1) / np.sqrt(12))
    assert high - low == pytest.approx(student[1] - student[0], rel=0.03)
    plain = interval(values)
    assert plain[1] - plain[0] < 0.9 * (high - low)
    tail = norm.cdf(-np.sqrt(12 / 11) * t.ppf(0.975, 11))
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [tail, 1 - tail])))
    assert interval(values, patients=10**7) == pytest.approx(interval(values), abs=1e-4)
    with pytest.raises(DataError, match="at least 2 patients"):
        interval(values, patients=1)


def test_logit_interval_by_hand() -> None:
    replicates = np.random.default_rng(0).normal(0.9, 0.03, 500)
    low, high = logit_interval(0.92, replicates, patients=25)
    half = t.ppf(0.975, 24) * replicates.std(ddof=1) / (0.92 * 0.08)
    for end, sign in ((low, -1), (high, 1)):
        assert np.log(end / (1 - end)) == pytest.approx(np.log(0.92 / 0.08) + sign * half)
    assert logit_interval(0.92, replicates, 25, level=0.8)[0] > low
    assert logit_interval(0.92, replicates, 500)[0] > low
    mirrored = logit_interval(0.08, 1 - replicates, 25)
    assert mirrored == pytest.approx((1 - high, 1 - low))


def test_logit_interval_without_variation() -> None:
    for patients in (20, 128):
        low, high = logit_interval(1.0, np.ones(9), patients)
        exact = binomtest(patients, patients).proportion_ci(0.95, "exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))
        assert logit_interval(0.0, np.zeros(9), patients) == pytest.approx((0, 1 - exact.low))
    assert logit_interval(0.5, np.full(9, 0.5) + 1e-16, 20) == pytest.approx((0.5, 0.5), abs=1e-15)


def test_logit_interval_undefined_and_wrong_input() -> None:
    values = np.full(100, 0.7)
    values[:2] = np.nan
    assert np.isnan(logit_interval(0.7, values, 30)).all()
    assert np.isnan(logit_interval(np.nan, np.full(9, 0.7), 30)).all()
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        logit_interval(-0.1, np.full(9, -0.1), 30)
    with pytest.raises(DataError, match="at least 2 patients"):
        logit_interval(0.7, np.full(9, 0.7), 1)
    with pytest.raises(DataError, match="level"):
        logit_interval(0.7, np.full(9, 0.7), 30, level=95)


@given(
    st.floats(0, 1),
    st.lists(st.floats(0, 1), min_size=2, max_size=30),
    st.integers(2, 1000),
    st.floats(0.01, 0.99),
)
@settings(max_examples=200, deadline=None)
def test_logit_interval_holds_the_figure_inside_0_to_1(
    value: float, replicates: list[float], patients: int, level: float
) -> None:
    low, high = logit_interval(value, replicates, patients, level)
    assert 0 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1


def test_twenty_patients_in_each_class() -> None:
    ids = np.arange(40)
    labels = ids < 20
    assert no_interval_reason(ids, labels) is None
    assert no_interval_reason(ids[1:], labels[1:]) == "19 patients with abnormal images, fewer than 20"
    assert no_interval_reason(ids[:-1], labels[:-1]) == "19 patients with normal images, fewer than 20"
    assert no_interval_reason(np.zeros(40), labels) == "1 patient with normal images, fewer than 20"
    assert no_interval_reason(ids[:20], labels[:20], classes=(1,)) is None
    assert "0 patients with normal" in str(no_interval_reason(ids[:20], labels[:20]))
    assert no_interval_reason(ids[:10], labels[:10], classes=(1,), minimum=10) is None


def test_wrong_input() -> None:
    with pytest.raises(DataError, match="cohort is empty"):
        patient_weights([], [])
    with pytest.raises(DataError, match="2 values for 3"):
        patient_weights(["a", "b", "c"], [0, 1])
