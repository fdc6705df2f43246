"""Clustered DeLong against plain DeLong, the bootstrap, and the spread over simulated studies."""

import numpy as np
import pytest

from vitad_med.errors import DataError
from vitad_med.metrics.bootstrap import interval, patient_weights
from vitad_med.metrics.clustered import delong_clustered, delong_clustered_covariance
from vitad_med.metrics.exact import exact_auroc
from vitad_med.metrics.image import image_auroc


def simulate(seed: int, patients: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients with 1-6 images, some of both classes, whose scores share a strong effect of the patient."""
    generator = np.random.default_rng(seed)
    ids = np.repeat(np.arange(patients), generator.integers(1, 7, patients))
    kind = generator.choice([0.0, 0.5, 1.0], patients, p=[0.4, 0.2, 0.4])
    labels = generator.random(len(ids)) < kind[ids]
    scores = generator.normal(labels * 1.0 + generator.normal(0, 1.5, patients)[ids], 0.5)
    return scores, labels, ids


def plain_delong(scores: np.ndarray, labels: np.ndarray) -> float:
    """Standard error of DeLong et al. 1988, pair by pair."""
    wins = np.array([[(p > n) + 0.5 * (p == n) for n in scores[~labels]] for p in scores[labels]])
    m, n = wins.shape
    return float(np.sqrt(wins.mean(axis=1).var(ddof=1) / m + wins.mean(axis=0).var(ddof=1) / n))


def test_one_image_per_patient_is_delong() -> None:
    generator = np.random.default_rng(0)
    labels = generator.random(60) < 0.5
    scores = np.round(generator.normal(labels, 1.0), 1)
    auroc, error = delong_clustered(scores, labels, np.arange(60))
    assert auroc == pytest.approx(exact_auroc(scores[labels], scores[~labels]), abs=1e-12)
    # No patient has images of both classes, so Obuchowski's product term vanishes.
    assert error == pytest.approx(plain_delong(scores, labels), rel=1e-9)


def test_agrees_with_the_clustered_bootstrap_and_not_with_plain_delong() -> None:
    for seed in range(3):
        scores, labels, ids = simulate(seed)
        _, error = delong_clustered(scores, labels, ids)
        replicates = image_auroc(scores, labels, patient_weights(ids, labels, 2000, seed))
        assert error == pytest.approx(replicates.std(), rel=0.12)
        assert plain_delong(scores, labels) < 0.85 * error


def test_agrees_with_the_spread_over_studies() -> None:
    results = np.array([delong_clustered(*simulate(seed, patients=80)) for seed in range(400)])
    assert results[:, 1].mean() == pytest.approx(results[:, 0].std(), rel=0.12)


def test_covariance_of_two_methods_gives_the_error_of_their_difference() -> None:
    scores, labels, ids = simulate(5)
    generator = np.random.default_rng(1)
    other = scores + generator.normal(0, 1.0, len(scores))
    aurocs, covariance = delong_clustered_covariance(np.stack([scores, other]), labels, ids)
    for row, single in enumerate((scores, other)):
        assert (aurocs[row], np.sqrt(covariance[row, row])) == pytest.approx(delong_clustered(single, labels, ids))
    weights = patient_weights(ids, labels, 2000, 0)
    difference = image_auroc(scores, labels, weights) - image_auroc(other, labels, weights)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert error == pytest.approx(difference.std(), rel=0.12)
    low, high = interval(difference)
    assert low < aurocs[0] - aurocs[1] < high


def test_undefined_and_wrong_input() -> None:
    assert np.isnan(delong_clustered([1, 2], [1, 1], [0, 1])).all()
    auroc, error = delong_clustered([1, 2, 3], [0, 0, 1], [0, 1, 2])
    assert auroc == 1
    assert np.isnan(error)
    with pytest.raises(DataError, match="1 patients for 3 scores"):
        delong_clustered([1, 2, 3], [0, 0, 1], [0])
    with pytest.raises(DataError, match="not finite"):
        delong_clustered([1, 2, np.nan], [0, 0, 1], [0, 1, 2])
