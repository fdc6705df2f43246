"""Permutation and bootstrap tests of gaps against plain loops, and Holm's correction against its definition."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitad_med.errors import DataError
from vitad_med.metrics.bootstrap import patient_weights
from vitad_med.metrics.clustered import delong_clustered
from vitad_med.metrics.gap_statistics import ImageStatistic
from vitad_med.metrics.gaps import between_patients, bootstrap_gap_test, holm, permutation_test
from vitad_med.metrics.image import image_auroc


def study(seed: int, patients: int = 90, gap: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels, patients and a level 0-2 of each patient; level 2 is detected better by ``gap``."""
    generator = np.random.default_rng(seed)
    ids = generator.permutation(np.repeat(np.arange(patients), generator.integers(1, 4, patients)))
    labels = generator.random(len(ids)) < generator.choice([0.0, 0.5, 1.0], patients)[ids]
    level = generator.integers(0, 3, patients)[ids]
    scores = generator.normal(labels * (0.8 + gap * (level == 2)) + generator.normal(size=patients)[ids], 0.5)
    return scores, labels, ids, level


def studentised(scores: np.ndarray, labels: np.ndarray, ids: np.ndarray, level: np.ndarray) -> list[float]:
    """(difference, error) of each level from the clustered DeLong of two subsets."""
    ratios = []
    for name in np.unique(level):
        a, error_a = delong_clustered(scores[level == name], labels[level == name], ids[level == name])
        b, error_b = delong_clustered(scores[level != name], labels[level != name], ids[level != name])
        ratios.append(abs(a - b) / np.sqrt(error_a**2 + error_b**2))
    return ratios


def test_observed_gaps_and_their_errors() -> None:
    scores, labels, ids, level = study(0)
    result = permutation_test(ImageStatistic(scores, labels, ids), level, permutations=9)
    np.testing.assert_array_equal(result.levels, [0, 1, 2])
    assert result.statistic == pytest.approx(max(studentised(scores, labels, ids, level)))
    inside = level == 1
    gap = image_auroc(scores[inside], labels[inside]) - image_auroc(scores[~inside], labels[~inside])
    assert result.differences[1] == pytest.approx(gap)
    assert np.abs(result.differences / result.errors) == pytest.approx(studentised(scores, labels, ids, level))


def test_p_is_the_share_of_all_permutations() -> None:
    # Four normal and four abnormal patients, two of each at a level: all 24 x 24 permutations.
    scores = np.array([0.1, 0.7, 0.3, 0.5, 0.2, 0.6, 0.4, 0.8])
    labels = np.repeat([0, 1], 4)
    level = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    ids = np.arange(8)
    statistic = ImageStatistic(scores, labels, ids)

    def value(levels: np.ndarray) -> float:
        members = levels == 0
        (a, b), (error_a, error_b) = statistic.cohorts(np.stack([members, ~members]))
        with np.errstate(divide="ignore"):
            return abs(a - b) / np.hypot(error_a, error_b)

    observed = value(level)
    all_values = [
        value(np.concatenate([level[list(first)], level[4:][list(second)]]))
        for first in permutations(range(4))
        for second in permutations(range(4))
    ]
    exact = np.mean([v >= observed * (1 - 1e-9) for v in all_values])
    result = permutation_test(statistic, level, permutations=20000, seed=1)
    assert result.statistic == pytest.approx(observed)
    assert result.p == pytest.approx(exact, abs=0.015)
    assert 0.05 < exact < 0.95


def test_levels_stay_within_the_kinds_of_patients() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.of_image = np.arange(9)
            self.kinds = np.array([1, 1, 1, 1, 2, 2, 2, 2, 2])
            self.seen: list[np.ndarray] = []

        def cohorts(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            self.seen.append(members)
            return np.zeros(len(members)), np.ones(len(members))

    recorder = Recorder()
    level = np.array([0, 0, 1, -1, 0, 1, 1, 1, -1])
    assert permutation_test(recorder, level, permutations=50).p == 1
    inside, rest = recorder.seen
    assert (inside[:, :4].sum(axis=1) == 2).all()
    assert (inside[:, 4:].sum(axis=1) == 1).all()
    assert (inside ^ rest)[:, level >= 0].all()
    assert not (inside | rest)[:, level < 0].any()
    assert len(np.unique(inside, axis=0)) > 5


def test_seed_decides_and_the_order_of_images_does_not() -> None:
    scores, labels, ids, level = study(1)
    first = permutation_test(ImageStatistic(scores, labels, ids), level, 199, seed=2)
    order = np.random.default_rng(0).permutation(len(ids))
    again = permutation_test(ImageStatistic(scores[order], labels[order], ids[order]), level[order], 199, seed=2)
    assert first.p == again.p
    assert first.differences == pytest.approx(again.differences, abs=1e-12)
    others = {permutation_test(ImageStatistic(scores, labels, ids), level, 199, seed=s).p for s in range(3, 8)}
    assert len(others) > 1


def test_a_large_gap_is_found_and_the_smallest_p_is_above_zero() -> None:
    scores, labels, ids, level = study(2, patients=200, gap=3.0)
    statistic = ImageStatistic(scores, labels, ids)
    assert permutation_test(statistic, level, 199).p == 1 / 200
    two = permutation_test(statistic, (level == 2).astype(int), 199)
    assert two.p == 1 / 200
    assert two.differences[1] == -two.differences[0] > 0.05


def test_images_left_out_are_as_if_absent() -> None:
    scores, labels, ids, level = study(3)
    kept = level < 2
    whole = permutation_test(ImageStatistic(scores, labels, ids), np.where(kept, level, -1), 199)
    part = permutation_test(ImageStatistic(scores[kept], labels[kept], ids[kept]), level[kept], 199)
    assert whole.differences == pytest.approx(part.differences, abs=1e-12)
    assert whole.errors == pytest.approx(part.errors, abs=1e-12)


def test_a_gap_that_does_not_exist_has_no_p() -> None:
    statistic = ImageStatistic(np.arange(6), [0, 0, 0, 1, 1, 1], np.arange(6))
    assert np.isnan(permutation_test(statistic, [0, 0, 0, 1, 1, 1], 9).p)


def test_between_patients() -> None:
    assert between_patients(["M", "M", "F"], [1, 1, 2])
    assert not between_patients(["PA", "AP", "PA"], [1, 1, 2])
    with pytest.raises(DataError, match="2 levels for 3 images"):
        between_patients([0, 1], [1, 1, 2])


def test_wrong_levels() -> None:
    statistic = ImageStatistic(np.arange(4), [0, 1, 0, 1], [0, 0, 1, 1])
    with pytest.raises(DataError, match=r"levels: 1 patients .* bootstrap_gap_test"):
        permutation_test(statistic, [0, 1, 0, 0])
    with pytest.raises(DataError, match="not at 1"):
        permutation_test(statistic, [0, 0, -1, -1])
    with pytest.raises(DataError, match="levels: 2 values for 4"):
        permutation_test(statistic, [0, 1])


def gap_replicates(seed: int, gap: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Gaps of three levels that vary within patients, [L] and [R, L]."""
    scores, labels, ids, _ = study(seed, patients=150)
    level = np.random.default_rng(seed).integers(0, 3, len(ids))
    scores = scores + gap * labels * (level == 2)
    weights = patient_weights(ids, labels, 500, seed)
    columns, observed = [], []
    for name in range(3):
        inside = level == name
        parts = [(scores[part], labels[part], weights[:, part]) for part in (inside, ~inside)]
        columns.append(np.subtract(*(image_auroc(*part) for part in parts)))
        observed.append(np.subtract(*(image_auroc(s, y) for s, y, _ in parts)))
    return np.array(observed), np.stack(columns, axis=1)


def test_bootstrap_test_by_hand() -> None:
    differences, replicates = gap_replicates(0)
    result = bootstrap_gap_test(differences, replicates, [0, 1, 2])
    errors = np.array([np.std(column, ddof=1) for column in replicates.T])
    observed = max(abs(d) / e for d, e in zip(differences, errors, strict=True))
    larger = sum(max(abs(row - differences) / errors) >= observed for row in replicates)
    assert result.p == pytest.approx((1 + larger) / 501)
    assert result.statistic == pytest.approx(observed)
    assert result.errors == pytest.approx(errors)
    assert 1 / 501 < result.p < 1
    assert bootstrap_gap_test(differences, replicates, [0, 1, 2], patients=10).p > result.p
    assert bootstrap_gap_test(*gap_replicates(0, gap=2.0), [0, 1, 2]).p == 1 / 501


def test_bootstrap_test_undefined_and_wrong_input() -> None:
    differences, replicates = gap_replicates(1)
    replicates[:4, 0] = np.nan
    assert 0 < bootstrap_gap_test(differences, replicates, [0, 1, 2]).p <= 1
    replicates[:6, 0] = np.nan
    assert np.isnan(bootstrap_gap_test(differences, replicates, [0, 1, 2]).p)
    with pytest.raises(DataError, match=r"\[R, L\]"):
        bootstrap_gap_test(differences, replicates[:, :2], [0, 1, 2])


def test_holm_of_a_textbook_example() -> None:
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([None, float("nan")]) == [None, None]
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        holm([1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
@settings(max_examples=200, deadline=None)
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float], alpha: float) -> None:
    rejected = set()
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if (len(p_values) - step) * p_values[place] > alpha:
            break
        rejected.add(place)
    adjusted = holm(p_values)
    assert {place for place, p in enumerate(adjusted) if p is not None and p <= alpha} == rejected
    assert all(a is not None and p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
