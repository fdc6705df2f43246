"""Pointing game and AUROC within an image."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vitad_med.errors import DataError
from vitad_med.metrics.localization import image_aurocs, mean_image_auroc, pointing_hits, weighted_mean


def test_pointing_game_averages_ties() -> None:
    mask = np.zeros((3, 4, 4), dtype=bool)
    mask[:, 1:3, 1:3] = True
    maps = np.zeros((3, 4, 4))
    maps[0, 1, 2] = 5  # one peak, inside
    maps[1, 0, 0] = maps[1, 3, 3] = maps[1, 2, 2] = 5  # three tied peaks, one inside
    np.testing.assert_allclose(pointing_hits(maps, mask), [1, 1 / 3, 4 / 16])


def test_image_auroc_equals_scikit_learn_and_skips_images_without_both_classes() -> None:
    generator = np.random.default_rng(0)
    maps = generator.integers(0, 6, (5, 8, 8))
    masks = generator.random((5, 8, 8)) < 0.3
    masks[3], masks[4] = False, True
    values = image_aurocs(maps, masks)
    expected = [roc_auc_score(masks[i].ravel(), maps[i].ravel()) for i in range(3)]
    np.testing.assert_allclose(values[:3], expected, atol=1e-12)
    assert np.isnan(values[3:]).all()
    assert mean_image_auroc(maps, masks) == pytest.approx(np.mean(expected))


def test_weighted_mean_repeats_images_and_drops_undefined_ones() -> None:
    values = [0.2, 0.8, np.nan, 1.0]
    weights = np.array([[1, 1, 5, 1], [0, 3, 1, 1], [0, 0, 2, 0]])
    means = weighted_mean(values, weights)
    np.testing.assert_allclose(means[:2], [2 / 3, (2.4 + 1) / 4])
    assert np.isnan(means[2])
    assert weighted_mean(values) == pytest.approx(2 / 3)


def test_wrong_input() -> None:
    maps = np.full((2, 3, 3), np.nan)
    with pytest.raises(DataError, match="map 0"):
        pointing_hits(maps, np.zeros((2, 3, 3)))
    with pytest.raises(DataError, match="shape"):
        image_aurocs(np.zeros((2, 3, 3)), np.zeros((2, 3, 4)))
