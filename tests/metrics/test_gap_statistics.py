"""Values and standard errors of cohorts against clustered DeLong, direct formulas, the jackknife and the bootstrap."""

import numpy as np
import pytest

from vitad_med.errors import DataError
from vitad_med.metrics.bootstrap import patient_kinds, patient_weights
from vitad_med.metrics.clustered import delong_clustered
from vitad_med.metrics.conditioned import PairMatrices, within_image_midranks
from vitad_med.metrics.gap_statistics import ConditionedStatistic, ImageStatistic


def study(seed: int, patients: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tied scores, labels and text patients in mixed order; some patients with both classes."""
    generator = np.random.default_rng(seed)
    number = generator.permutation(np.repeat(np.arange(patients), generator.integers(1, 5, patients)))
    labels = generator.random(len(number)) < generator.choice([0.0, 0.5, 1.0], patients)[number]
    scores = np.round(generator.normal(labels + generator.normal(size=patients)[number], 0.5), 1)
    return scores, labels, np.array([f"p{n}" for n in number])


def localized(seed: int, patients: int = 30) -> tuple[PairMatrices, np.ndarray]:
    generator = np.random.default_rng(seed)
    ids = generator.permutation(np.repeat(np.arange(patients), generator.integers(1, 4, patients)))
    masks = generator.random((len(ids), 5, 5)) < 0.3
    maps = masks * 0.6 + generator.normal(size=masks.shape) + generator.normal(size=(patients, 5, 5))[ids]
    return PairMatrices.build(within_image_midranks(maps), masks), ids


def random_members(seed: int, cohorts: int, patients: int) -> np.ndarray:
    return np.random.default_rng(seed).random((cohorts, patients)) < 0.5


@pytest.mark.parametrize("cells", [1, 10**6])
def test_image_statistic_is_clustered_delong(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr("vitad_med.metrics.gap_statistics._CELLS", cells)
    scores, labels, ids = study(0)
    statistic = ImageStatistic(scores, labels, ids)
    assert len(np.unique(scores)) < len(scores)
    members = random_members(1, 12, len(statistic.kinds))
    members[0] = True
    values, errors = statistic.cohorts(members)
    names = np.unique(ids)
    for row, value, error in zip(members, values, errors, strict=True):
        inside = np.isin(ids, names[row])
        assert (value, error) == pytest.approx(delong_clustered(scores[inside], labels[inside], ids[inside]), abs=1e-12)


def test_image_statistic_kinds_and_undefined_cohorts() -> None:
    statistic = ImageStatistic([1, 2, 3, 4, 5], [0, 0, 1, 1, 0], ["a", "b", "b", "c", "d"])
    np.testing.assert_array_equal(statistic.kinds, [1, 3, 2, 1])
    values, errors = statistic.cohorts(np.array([[1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0]], dtype=bool))
    assert np.isnan(values[:2]).all()
    assert values[2] == 1
    assert np.isnan(errors).all()


@pytest.mark.parametrize("cells", [1, 10**6])
def test_conditioned_statistic_by_its_formula(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr("vitad_med.metrics.gap_statistics._CELLS", cells)
    matrices, ids = localized(2)
    statistic = ConditionedStatistic(matrices, ids)
    members = random_members(3, 6, len(statistic.kinds))
    values, errors = statistic.cohorts(members)
    k, d = matrices.K, matrices.D
    for row, value, error in zip(members, values, errors, strict=True):
        w = row[ids].astype(float)
        total = w @ d @ w
        assert value == pytest.approx(w @ k @ w / total, abs=1e-12)
        assert value == pytest.approx(matrices.auroc(index=row[ids]), abs=1e-12)
        influence = w * (k @ w + k.T @ w - value * (d @ w + d.T @ w)) / total
        sums = np.array([influence[ids == patient].sum() for patient in np.flatnonzero(row)])
        assert error == pytest.approx(np.sqrt((sums**2).sum() * row.sum() / (row.sum() - 1)), rel=1e-9)


def test_influence_is_the_derivative_with_respect_to_a_patients_weight() -> None:
    matrices, ids = localized(4)
    value, step = matrices.auroc(), 1e-5
    slopes = []
    for patient in range(ids.max() + 1):
        weights = np.ones(len(ids))
        weights[ids == patient] += step
        slopes.append((matrices.auroc(weights) - value) / step)
    _, errors = ConditionedStatistic(matrices, ids).cohorts(np.ones((1, len(slopes)), dtype=bool))
    inflated = np.sqrt(len(slopes) / (len(slopes) - 1))
    assert errors[0] == pytest.approx(inflated * np.linalg.norm(slopes), rel=1e-3)


def test_conditioned_error_agrees_with_the_clustered_bootstrap() -> None:
    matrices, ids = localized(5, patients=80)
    _, errors = ConditionedStatistic(matrices, ids).cohorts(np.ones((1, 80), dtype=bool))
    replicates = matrices.auroc(patient_weights(ids, np.ones(len(ids)), 2000, 0))
    assert errors[0] == pytest.approx(np.std(replicates), rel=0.1)


def test_conditioned_statistic_takes_the_kinds_of_the_whole_study() -> None:
    matrices, ids = localized(6)
    labels = np.concatenate([np.ones(len(ids)), np.zeros(5)])
    kinds = patient_kinds(np.concatenate([ids, np.arange(5)]), labels)[: len(ids)]
    statistic = ConditionedStatistic(matrices, ids, kinds)
    np.testing.assert_array_equal(statistic.kinds, [3] * 5 + [2] * 25)
    np.testing.assert_array_equal(ConditionedStatistic(matrices, ids).kinds, np.zeros(30))


def test_wrong_input() -> None:
    matrices, ids = localized(7)
    with pytest.raises(DataError, match="patients for"):
        ConditionedStatistic(matrices, ids[1:])
    with pytest.raises(DataError, match=r"kinds: .* images with different values"):
        ConditionedStatistic(matrices, ids, np.arange(len(ids)))
    with pytest.raises(DataError, match="1 values for"):
        ConditionedStatistic(matrices, ids, [1])
    with pytest.raises(DataError, match="not finite"):
        ImageStatistic([1, np.nan], [0, 1], [0, 1])
    with pytest.raises(DataError, match="2 patients for 3 images"):
        ImageStatistic([1, 2, 3], [0, 1, 1], [0, 1])
