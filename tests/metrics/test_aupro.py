"""AUPRO against the curve drawn threshold by threshold."""

import numpy as np
import pytest
from skimage.measure import label

from vitad_med.errors import DataError
from vitad_med.metrics.aupro import aupro, aupro_contributions


def make(levels: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    masks = np.zeros((6, 20, 24), dtype=np.uint8)
    masks[0, 2:6, 3:9] = 1
    masks[0, 12:15, 18:24] = 1
    masks[1, 5, 5] = masks[1, 6, 6] = 1  # one component through the diagonal
    masks[2, :, :3] = 1
    masks[3, 8:18, 8:20] = 1
    masks[3, 10:16, 10:18] = 0
    masks[3, 12, 13] = 1  # an island inside the bounding box of a ring
    maps = generator.normal(masks * generator.uniform(0.3, 1.5, (6, 1, 1)), 1.0)
    return (maps if levels is None else np.round(maps * levels) / levels), masks


def components_of(maps: np.ndarray, masks: np.ndarray) -> list[list[np.ndarray]]:
    """Scores inside each component, image by image."""
    labels = [label(mask, connectivity=2) for mask in masks]
    return [[m[image == k] for k in range(1, image.max() + 1)] for m, image in zip(maps, labels, strict=True)]


def naive(maps: np.ndarray, masks: np.ndarray, max_fpr: float, regions: list[np.ndarray] | None = None) -> float:
    """Every distinct score as a threshold, overlaps by component, trapezoids, a straight line to max_fpr."""
    if regions is None:
        regions = [region for image in components_of(maps, masks) for region in image]
    normal = maps[masks == 0]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        rates.append(np.mean(normal >= threshold))
        overlaps.append(np.mean([np.mean(region >= threshold) for region in regions]))
    x, y = np.array(rates), np.array(overlaps)
    last = np.flatnonzero(x <= max_fpr)[-1]
    area = np.trapezoid(y[: last + 1], x[: last + 1])
    if last + 1 < len(x):
        end = y[last] + (y[last + 1] - y[last]) * (max_fpr - x[last]) / (x[last + 1] - x[last])
        area += (end + y[last]) / 2 * (max_fpr - x[last])
    return float(area / max_fpr)


@pytest.mark.parametrize("levels", [None, 1, 4])
@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_equals_the_naive_curve(levels: int | None, max_fpr: float) -> None:
    for seed in range(3):
        maps, masks = make(levels, seed)
        assert aupro(maps, masks, max_fpr) == pytest.approx(naive(maps, masks, max_fpr), abs=1e-12)


def test_known_values() -> None:
    maps, masks = make()
    assert aupro(masks.astype(float), masks) == pytest.approx(1)
    assert aupro(1.0 - masks, masks) == 0
    # A constant map crosses all thresholds at once: the diagonal, whose area up to 0.3 is 0.15 of a possible 0.3.
    assert aupro(np.ones_like(maps), masks) == pytest.approx(0.15)
    assert aupro(np.ones_like(maps), masks, 1.0) == pytest.approx(0.5)
    assert aupro(np.exp(maps), masks) == aupro(maps, masks)


def test_thresholds_in_equal_steps_approach_the_full_distribution() -> None:
    maps, masks = make()
    full = aupro(maps, masks)
    assert aupro(maps, masks, thresholds=20_000) == pytest.approx(full, abs=2e-3)
    assert aupro(maps, masks, thresholds=100) != pytest.approx(full, abs=1e-4)


@pytest.mark.parametrize("levels", [None, 2])
def test_contributions_are_areas_of_components_at_the_rates_of_the_whole_set(levels: int | None) -> None:
    maps, masks = make(levels)
    parts = aupro_contributions(maps, masks)
    for i, regions in enumerate(components_of(maps, masks)):
        assert parts.components[i] == len(regions)
        areas = [naive(maps, masks, 0.3, [region]) for region in regions]
        assert parts.areas[i] == pytest.approx(sum(areas), abs=1e-12)
    assert parts.components.tolist() == [2, 1, 1, 2, 0, 0]
    assert parts.aupro() == aupro(maps, masks)


def test_contributions_over_equal_steps() -> None:
    maps, masks = make()
    parts = aupro_contributions(maps, masks, thresholds=50)
    cuts = np.linspace(maps.min(), maps.max(), 50)[::-1]
    rates = np.array([np.mean(maps[masks == 0] >= cut) for cut in cuts])
    kept = rates < 0.3
    for i, regions in enumerate(components_of(maps, masks)):
        overlaps = [np.array([np.mean(region >= cut) for cut in cuts[kept]]) for region in regions]
        areas = [np.trapezoid(overlap, rates[kept] / rates[kept].max()) for overlap in overlaps]
        assert parts.areas[i] == pytest.approx(sum(areas), abs=1e-12)
    assert parts.aupro() == aupro(maps, masks, thresholds=50)


def test_cohorts_and_replicates_of_contributions_are_weighted_means() -> None:
    maps, masks = make()
    parts = aupro_contributions(maps, masks)
    weights = np.array(
        [[1, 1, 1, 1, 1, 1], [0, 3, 1, 0, 2, 0], [2, 0, 0, 1, 0, 0], [0, 0, 0, 0, 4, 5]], dtype=np.uint16
    )
    values = parts.aupro(weights)
    assert values[0] == pytest.approx(aupro(maps, masks), abs=1e-12)
    for row in (1, 2):
        areas = np.repeat(parts.areas, weights[row]).sum()
        assert values[row] == pytest.approx(areas / np.repeat(parts.components, weights[row]).sum(), abs=1e-12)
    assert np.isnan(values[3])
    assert parts.aupro(weights[2]) == values[2]
    # Repeating every image leaves the rates as they are, so the whole set's own figure is the replicate's.
    assert aupro(np.repeat(maps, 3, axis=0), np.repeat(masks, 3, axis=0)) == pytest.approx(
        float(parts.aupro(np.full(6, 3))), abs=1e-12
    )


def test_undefined_and_wrong_input() -> None:
    maps, masks = make()
    assert np.isnan(aupro(maps, np.zeros_like(masks)))
    assert np.isnan(aupro(maps, np.ones_like(masks)))
    with pytest.raises(DataError, match="max_fpr"):
        aupro(maps, masks, 30)
    with pytest.raises(DataError, match="must both have shape"):
        aupro(maps, masks[:, :5])
    maps[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="1 NaN"):
        aupro(maps, masks)
