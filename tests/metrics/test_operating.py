"""Figures at a threshold against counting, Bayes' rule and the population of simulated studies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import confusion_matrix

from vitad_med.errors import DataError
from vitad_med.metrics.bootstrap import patient_weights
from vitad_med.metrics.operating import OperatingPoint, flagged_rates, operating_point

FIGURES = ("false_positive_rate", "sensitivity", "alarms_per_100", "ppv", "npv")


def study(seed: int, patients: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flags, labels and patients, some with both classes; flags of one patient agree more than by chance."""
    generator = np.random.default_rng(seed)
    ids = generator.permutation(np.repeat(np.arange(patients), generator.integers(1, 5, patients)))
    labels = generator.random(len(ids)) < generator.choice([0.0, 0.5, 1.0], patients, p=[0.45, 0.1, 0.45])[ids]
    scores = labels * 1.5 + np.sqrt(0.5) * (generator.normal(size=patients)[ids] + generator.normal(size=len(ids)))
    return scores > norm.ppf(0.9), labels, ids


def test_values_by_counting() -> None:
    flags, labels, ids = study(0)
    tn, fp, fn, tp = confusion_matrix(labels, flags).ravel()
    found = operating_point(flags, labels, ids, prevalence=0.05)
    assert found.false_positive_rate.value == pytest.approx(fp / (fp + tn))
    assert found.sensitivity.value == pytest.approx(tp / (tp + fn))
    # 10,000 patients of a ward with 500 abnormal ones.
    true_alarms, false_alarms = 500 * tp / (tp + fn), 9500 * fp / (fp + tn)
    assert found.alarms_per_100.value == pytest.approx((true_alarms + false_alarms) / 100)
    assert found.ppv.value == pytest.approx(true_alarms / (true_alarms + false_alarms))
    quiet = 10000 - true_alarms - false_alarms
    assert found.npv.value == pytest.approx((9500 - false_alarms) / quiet)


def test_at_the_prevalence_of_the_sample_predictive_values_are_its_own() -> None:
    flags, labels, ids = study(1)
    found = operating_point(flags, labels, ids, prevalence=labels.mean())
    assert found.ppv.value == pytest.approx(labels[flags].mean())
    assert found.npv.value == pytest.approx((~labels[~flags]).mean())
    assert found.alarms_per_100.value == pytest.approx(100 * flags.mean())


@given(st.integers(0, 10**6), st.floats(0.001, 0.999), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_intervals_hold_their_figures(seed: int, prevalence: float, share: float) -> None:
    _, labels, ids = study(seed, patients=12)
    if labels.all() or not labels.any():
        return
    flags = np.random.default_rng(seed).random(len(labels)) < share
    found = operating_point(flags, labels, ids, prevalence)
    for name in FIGURES:
        value, low, high = getattr(found, name)
        if np.isnan(value):
            assert name in ("ppv", "npv")
            assert np.isnan([low, high]).all()
            continue
        top = 100 if name == "alarms_per_100" else 1
        assert 0 <= low <= value + 1e-9
        assert value - 1e-9 <= high <= top


def test_no_alarms_and_nothing_but_alarms() -> None:
    labels = np.repeat([0, 1], [128, 40])
    ids = np.arange(168)
    found = operating_point(labels, labels, ids)
    assert found.false_positive_rate == pytest.approx((0, 0, 1 - 0.025 ** (1 / 128)))
    assert found.ppv.value == found.npv.value == 1
    assert found.ppv.high == 1
    assert 0.3 < found.ppv.low < 0.8
    none = operating_point(np.zeros(168), labels, ids)
    assert none.sensitivity.value == 0
    assert none.sensitivity.high > 0.08
    assert np.isnan(none.ppv).all()
    assert none.npv.value == pytest.approx(0.95)
    assert np.isnan(operating_point(np.ones(168), labels, ids).npv).all()


def test_rates_that_rise_and_fall_together_make_alarms_less_sure() -> None:
    # Every patient has a normal and an abnormal image, both flagged or neither: the rates are one and the same.
    ids = np.repeat(np.arange(60), 2)
    labels = np.tile([0, 1], 60)
    flags = ids % 3 == 0
    found = operating_point(flags, labels, ids)
    rate = found.sensitivity
    assert found.alarms_per_100 == pytest.approx(tuple(100 * end for end in rate))
    apart = operating_point(flags, labels, np.arange(120))
    assert found.alarms_per_100.low < apart.alarms_per_100.low - 0.1


def test_without_a_class_only_the_other_rate_exists() -> None:
    found = operating_point([0, 1, 0], [0, 0, 0], [1, 2, 3])
    assert found.false_positive_rate.value == pytest.approx(1 / 3)
    for name in FIGURES[1:]:
        assert np.isnan(getattr(found, name)).all()


def test_replicates_are_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitad_med.metrics.operating._CELLS", 300)
    flags, labels, ids = study(2)
    weights = patient_weights(ids, labels, 9, seed=0)
    false_positive, sensitivity = flagged_rates(flags, labels, weights)
    for row, fpr, sens in zip(weights, false_positive, sensitivity, strict=True):
        repeated = np.repeat(np.arange(len(ids)), row)
        again = operating_point(flags[repeated], labels[repeated], ids[repeated])
        assert (fpr, sens) == pytest.approx((again.false_positive_rate.value, again.sensitivity.value))
    only_normal = flagged_rates(flags, labels, (~labels)[None].astype(np.uint16))
    assert np.isnan(only_normal[1]).all()


def test_wrong_input() -> None:
    with pytest.raises(DataError, match="prevalence"):
        operating_point([0, 1], [0, 1], [0, 1], prevalence=5)
    with pytest.raises(DataError, match="flags: 1 values for 2"):
        operating_point([0], [0, 1], [0, 1])
    with pytest.raises(DataError, match="replicates, images"):
        flagged_rates([0, 1], [0, 1], np.ones(2))


def coverage(truth: dict[str, float], draws: list[OperatingPoint]) -> dict[str, float]:
    return {
        name: float(np.mean([getattr(draw, name).low <= truth[name] <= getattr(draw, name).high for draw in draws]))
        for name in FIGURES
    }


@pytest.mark.slow
@pytest.mark.parametrize("patients", [60, 200])
def test_coverage_over_simulated_studies(patients: int) -> None:
    fpr, sensitivity, prevalence = 0.1, float(norm.sf(norm.ppf(0.9) - 1.5)), 0.05
    alarms = prevalence * sensitivity + (1 - prevalence) * fpr
    truth = {
        "false_positive_rate": fpr,
        "sensitivity": sensitivity,
        "alarms_per_100": 100 * alarms,
        "ppv": prevalence * sensitivity / alarms,
        "npv": (1 - prevalence) * (1 - fpr) / (1 - alarms),
    }
    studies = 2000
    found = coverage(truth, [operating_point(*study(seed, patients), prevalence) for seed in range(studies)])
    print(f"\n{patients} patients:", ", ".join(f"{name} {share:.3f}" for name, share in found.items()))
    # Exact intervals cover at least what they promise, so only too little is wrong.
    for name, share in found.items():
        assert binomtest(round(share * studies), studies, 0.94, alternative="less").pvalue > 0.001, name
