"""Separability: half for noise, one for distinct groups, and no gain from knowing a patient."""

from __future__ import annotations

import numpy as np
import pytest

from vitad_med.errors import DataError
from vitad_med.metrics.separability import separability


def patients(count: int, images: int = 2) -> list[str]:
    return [f"p{index // images}" for index in range(count)]


def test_distinct_groups_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4 >= 2
    features = rng.normal(size=(200, 16)) + 4.0 * labels[:, None]
    found = separability(features, labels, patients(200))
    assert found.linear == pytest.approx(1.0, abs=1e-6)
    assert found.neighbours == pytest.approx(1.0, abs=1e-6)
    assert found.patients == (50, 50)


def test_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    values = [
        separability(rng.normal(size=(120, 32)), np.arange(120) % 2, [f"p{k}" for k in range(120)]) for _ in range(8)
    ]
    assert np.mean([value.linear for value in values]) == pytest.approx(0.5, abs=0.06)
    assert np.mean([value.neighbours for value in values]) == pytest.approx(0.5, abs=0.06)
    for value in values:
        assert value.linear_range[0] <= value.linear <= value.linear_range[1]


def test_recognising_a_patient_brings_nothing() -> None:
    """Each patient has features of its own and one label; across patients there is nothing to learn."""
    rng = np.random.default_rng(2)
    names = [f"p{index // 10}" for index in range(400)]
    own = rng.normal(size=(40, 24))
    features = np.repeat(own, 10, axis=0) + 0.01 * rng.normal(size=(400, 24))
    labels = np.repeat(np.arange(40) % 2, 10)
    by_patient = separability(features, labels, names)
    by_image = separability(features, labels, [f"i{index}" for index in range(400)])
    assert by_image.neighbours > 0.99
    assert by_patient.neighbours < 0.8


def test_a_line_that_neighbours_do_not_see() -> None:
    """The linear probe and nearest neighbours are two figures: one direction among much noise."""
    rng = np.random.default_rng(3)
    labels = np.arange(300) % 2
    features = rng.normal(size=(300, 100))
    features[:, 0] += 3 * labels
    found = separability(features, labels, [f"p{k}" for k in range(300)])
    assert found.linear > 0.9
    assert found.neighbours < found.linear - 0.05


def test_the_same_seed_gives_the_same_figures() -> None:
    features = np.random.default_rng(4).normal(size=(60, 8))
    labels = np.arange(60) % 2
    first, again, other = (separability(features, labels, [f"p{k}" for k in range(60)], seed=s) for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_too_few_patients_and_bad_features_are_refused() -> None:
    features = np.zeros((4, 3))
    with pytest.raises(DataError, match="two of each group, there are 2 and 1"):
        separability(features, [0, 0, 1, 1], ["a", "b", "c", "c"])
    features[0, 0] = np.nan
    with pytest.raises(DataError, match="features"):
        separability(features, [0, 0, 1, 1], ["a", "b", "c", "d"])
