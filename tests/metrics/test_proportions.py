"""Intervals of proportions against scipy, grid searches and simulated patients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import betainc
from scipy.stats import binomtest, t

from vitad_med.errors import DataError
from vitad_med.metrics.proportions import Estimate, clustered_proportion, ratio, weighted_sum


@pytest.mark.parametrize(("hits", "images"), [(0, 128), (1, 40), (20, 40), (40, 40), (1, 1)])
def test_one_image_a_patient_is_clopper_and_pearson(hits: int, images: int) -> None:
    found = clustered_proportion(np.arange(images) < hits, np.arange(images))
    exact = binomtest(hits, images).proportion_ci(0.95, "exact")
    # The clustered variance has I - 1 where the binomial one has I: the effective number is smaller by one image,
    # but never more than it.
    assert found.value == hits / images
    if hits in (0, images):
        assert found == pytest.approx((hits / images, exact.low, exact.high))
    else:
        assert found.low == pytest.approx(exact.low, abs=0.01)
        assert found.high == pytest.approx(exact.high, abs=0.01)


def test_by_hand_with_clusters() -> None:
    ids = np.repeat(np.arange(6), [1, 2, 3, 4, 2, 1])
    x = np.array([1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0])
    p = x.mean()
    residuals = np.array([x[ids == i].sum() - (ids == i).sum() * p for i in range(6)])
    variance = 6 / 5 * (residuals**2).sum() / 13**2
    effective = p * (1 - p) / variance * (t.ppf(0.975, 12) / t.ppf(0.975, 5)) ** 2
    assert effective < 13
    found = clustered_proportion(x, ids)
    # The ends at which the binomial tails of an effective sample, extended to real numbers, are 2.5 %.
    hits = p * effective
    assert betainc(hits, effective - hits + 1, found.low) == pytest.approx(0.025)
    assert 1 - betainc(hits + 1, effective - hits, found.high) == pytest.approx(0.025)
    plain = binomtest(int(x.sum()), 13).proportion_ci(0.95, "exact")
    assert found.high - found.low > plain.high - plain.low


def test_patients_whose_images_balance_each_other_count_no_more_than_all_images() -> None:
    ids = np.repeat(np.arange(20), 2)
    x = np.tile([0, 1], 20)
    exact = binomtest(20, 40).proportion_ci(0.95, "exact")
    assert clustered_proportion(x, ids)[1:] == pytest.approx((exact.low, exact.high))
    x[0] = 1
    exact = binomtest(21, 40).proportion_ci(0.95, "exact")
    assert clustered_proportion(x, ids)[1:] == pytest.approx((exact.low, exact.high))


def test_zero_of_many_images_counts_patients() -> None:
    found = clustered_proportion(np.zeros(128), np.repeat(np.arange(32), 4))
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 32))
    assert (found.value, found.low) == (0, 0)
    assert clustered_proportion(np.ones(5), np.zeros(5)) == pytest.approx((1, 0.025, 1))
    assert np.isnan(clustered_proportion([], [])).all()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=60), st.floats(0.05, 0.99))
@settings(max_examples=200, deadline=None)
def test_holds_the_proportion_and_mirrors(images: list[tuple[bool, int]], level: float) -> None:
    x, ids = np.array([hit for hit, _ in images]), np.array([patient for _, patient in images])
    value, low, high = clustered_proportion(x, ids, level)
    assert 0 <= low <= value + 1e-9
    assert value - 1e-9 <= high <= 1
    assert clustered_proportion(~x, ids, level) == pytest.approx((1 - value, 1 - high, 1 - low), abs=1e-9)


def test_weighted_sum_by_hand() -> None:
    found = weighted_sum(Estimate(0.8, 0.6, 0.9), Estimate(0.1, 0.05, 0.2), 0.25)
    assert found.value == pytest.approx(0.275)
    assert found.low == pytest.approx(0.275 - np.hypot(0.25 * 0.2, 0.75 * 0.05))
    assert found.high == pytest.approx(0.275 + np.hypot(0.25 * 0.1, 0.75 * 0.1))
    together = weighted_sum(Estimate(0.8, 0.6, 0.9), Estimate(0.1, 0.05, 0.2), 0.25, correlation=1)
    assert together.low == pytest.approx(0.275 - 0.25 * 0.2 - 0.75 * 0.05)


def test_ratio_solves_its_equation() -> None:
    top, bottom = Estimate(0.8, 0.6, 0.9), Estimate(0.1, 0.05, 0.2)
    found = ratio(top, bottom)

    def equation(r: float, s_end: float, f_end: float) -> float:
        return (0.8 - r * 0.1) ** 2 - (0.8 - s_end) ** 2 - r**2 * (0.1 - f_end) ** 2

    assert found.value == pytest.approx(8)
    assert found.low == pytest.approx(brentq(equation, 0, 8, args=(0.6, 0.2)))
    assert found.high == pytest.approx(brentq(equation, 8, 1000, args=(0.9, 0.05)))


def test_ratio_with_nothing_above_or_below() -> None:
    value, low, high = ratio(Estimate(0.8, 0.6, 0.9), Estimate(0, 0, 0.03))
    assert (value, high) == (np.inf, np.inf)
    assert (0.8 - 0) ** 2 - 0.2**2 - low**2 * 0.03**2 == pytest.approx(0)
    value, low, high = ratio(Estimate(0, 0, 0.1), Estimate(0.2, 0.1, 0.3))
    assert (value, low) == (0, 0)
    assert (0 - high * 0.2) ** 2 - 0.1**2 - high**2 * 0.1**2 == pytest.approx(0)
    assert np.isnan(ratio(Estimate(0, 0, 0.1), Estimate(0, 0, 0.1))).all()


def test_wrong_input() -> None:
    with pytest.raises(DataError, match="2 values for 3"):
        clustered_proportion([0, 1], [0, 1, 2])
    with pytest.raises(DataError, match="level"):
        clustered_proportion([0, 1], [0, 1], 95)
