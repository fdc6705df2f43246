"""Pooled pixel metrics and their per-image histograms."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vitad_med.errors import DataError
from vitad_med.metrics.pooled import (
    PooledHistograms,
    pixel_auroc,
    pixel_auroc_and_average_precision,
    pixel_average_precision,
)


def make(images: int = 12, size: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    masks = np.zeros((images, size, size), dtype=bool)
    for mask in masks:
        y, x = generator.integers(0, size - 10, 2)
        mask[y : y + 8, x : x + 10] = True
    maps = generator.gamma(2.0, 1.0, masks.shape) + 0.6 * masks + generator.normal(size=(images, 1, 1))
    return maps.astype(np.float32), masks


def test_exact_values_equal_scikit_learn() -> None:
    maps, masks = make()
    auroc, precision = roc_auc_score(masks.ravel(), maps.ravel()), average_precision_score(masks.ravel(), maps.ravel())
    assert pixel_auroc(maps, masks) == pytest.approx(auroc, abs=1e-12)
    assert pixel_average_precision(maps, masks) == pytest.approx(precision, abs=1e-12)
    assert pixel_auroc_and_average_precision(maps, masks) == pytest.approx((auroc, precision), abs=1e-12)


@pytest.mark.parametrize("bins", [16, 1024])
def test_histograms_stay_within_their_bound_of_the_exact_value(bins: int) -> None:
    maps, masks = make()
    histograms = PooledHistograms.build(maps, masks, bins)
    assert abs(histograms.auroc() - pixel_auroc(maps, masks)) <= histograms.bound() < 2 / bins
    distance = abs(histograms.average_precision() - pixel_average_precision(maps, masks))
    assert distance <= histograms.average_precision_bound()
    assert (histograms.positives.sum(axis=1) == masks.sum(axis=(1, 2))).all()
    assert (histograms.positives + histograms.negatives).sum() == maps.size


def test_few_levels_are_counted_exactly() -> None:
    maps, masks = make()
    levels = np.floor(maps)
    histograms = PooledHistograms.build(levels, masks)
    # Every level is an edge of its own unless it is rarer than a bin.
    assert histograms.auroc() == pytest.approx(pixel_auroc(levels, masks), abs=histograms.bound() + 1e-12)
    constant = PooledHistograms.build(np.ones_like(maps), masks)
    assert constant.auroc() == 0.5
    assert constant.average_precision() == pytest.approx(masks.mean())


def test_weights_are_repetitions_of_images() -> None:
    maps, masks = make()
    histograms = PooledHistograms.build(maps, masks)
    weights = np.random.default_rng(1).integers(0, 3, (700, 12))
    aurocs, precisions = histograms.auroc(weights), histograms.average_precision(weights)
    assert aurocs.shape == precisions.shape == (700,)
    bounds, ap_bounds = histograms.bound(weights), histograms.average_precision_bound(weights)
    for row in (0, 350, 699):
        repeated = np.repeat(np.arange(12), weights[row])
        exact, exact_ap = pixel_auroc_and_average_precision(maps[repeated], masks[repeated])
        assert abs(aurocs[row] - exact) <= bounds[row] < 2e-3
        assert abs(precisions[row] - exact_ap) <= ap_bounds[row]
        assert histograms.auroc(weights[row]) == pytest.approx(aurocs[row], abs=1e-12)


def test_ignored_pixels_and_images_without_truth() -> None:
    maps, masks = make()
    masks[0] = False
    ignore = np.random.default_rng(2).random(maps.shape) < 0.2
    histograms = PooledHistograms.build(maps, masks, ignore=ignore)
    exact = roc_auc_score(masks[~ignore], maps[~ignore])
    assert histograms.positives[0].sum() == 0
    assert histograms.auroc() == pytest.approx(exact, abs=histograms.bound())
    only_first = np.eye(12)[0]
    assert np.isnan(histograms.auroc(only_first))


def test_wrong_input() -> None:
    maps, masks = make()
    maps[4, 0, 0] = np.inf
    with pytest.raises(DataError, match="map 4"):
        PooledHistograms.build(maps, masks)
    with pytest.raises(DataError, match="weights"):
        PooledHistograms.build(*make()).auroc(-np.ones(12))


def test_replicates_of_a_cohort_are_those_of_its_images_alone() -> None:
    maps, masks = make()
    histograms = PooledHistograms.build(maps, masks)
    weights = np.random.default_rng(1).integers(0, 3, (700, 12)).astype(np.uint16)
    index = np.arange(12) % 3 > 0
    aurocs, precisions = histograms.auroc_and_average_precision(weights, index)
    assert aurocs == pytest.approx(histograms.auroc(weights * index))
    assert precisions == pytest.approx(histograms.average_precision(weights * index))
