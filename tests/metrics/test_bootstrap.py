"""Patient-clustered bootstrap: strata, clusters, seeds, intervals and the rule for small cohorts."""

import numpy as np
import pytest

from vitad_med.errors import DataError
from vitad_med.metrics.bootstrap import interval, no_interval_reason, patient_weights
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
