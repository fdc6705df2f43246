"""Pixels sorted into bins once, against sorting them anew."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vitad_med.errors import DataError
from vitad_med.metrics.counts import (
    auroc_bound,
    auroc_from_counts,
    average_precision_bound,
    average_precision_from_counts,
)
from vitad_med.metrics.pixel_codes import PixelCodes


def make(images: int = 12, size: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    masks = np.zeros((images, size, size), dtype=bool)
    masks[:, 5:15, 8:30] = generator.random((images, 10, 22)) < 0.8
    maps = (generator.gamma(2.0, 1.0, masks.shape) + 0.6 * masks).astype(np.float32)
    return maps, masks, generator.random(masks.shape) < 0.1


def test_counts_of_a_cohort_give_the_figures_of_its_pixels() -> None:
    maps, masks, ignore = make()
    index = np.arange(12) % 3 == 0
    for left_out in (None, ignore):
        counts = PixelCodes.build(maps, masks, left_out).counts(index)
        kept = np.ones_like(masks) if left_out is None else ~left_out
        truth, values = masks[index][kept[index]], maps[index][kept[index]]
        # All 19,200 values are different, so each of them has a bin of its own.
        assert auroc_from_counts(*counts) == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
        assert average_precision_from_counts(*counts) == pytest.approx(average_precision_score(truth, values))
        assert (counts[0].sum(), counts[1].sum()) == (truth.sum(), (~truth).sum())


def test_more_pixels_than_bins_stay_within_the_bound() -> None:
    maps, masks, _ = make(200, 56)
    counts = PixelCodes.build(maps, masks).counts(np.ones(200, dtype=bool))
    distance = abs(float(auroc_from_counts(*counts)) - roc_auc_score(masks.ravel(), maps.ravel()))
    assert distance <= auroc_bound(*counts) < 2e-5


def test_histograms_of_images_add_up_and_hold_what_their_edges_say() -> None:
    maps, masks, ignore = make()
    histograms = PixelCodes.build(maps, masks, ignore).histograms(64)
    assert histograms.positives.shape == (12, 64)
    for number in range(12):
        own = maps[number][~ignore[number] & masks[number]]
        by_edges = np.bincount(np.searchsorted(histograms.edges, own, side="right"), minlength=64)
        assert histograms.positives[number].tolist() == by_edges.tolist()


def test_a_constant_map_is_one_tie() -> None:
    _, masks, _ = make()
    codes = PixelCodes.build(np.full(masks.shape, 0.3, dtype=np.float32), masks)
    assert auroc_from_counts(*codes.counts(np.ones(12, dtype=bool))) == 0.5
    assert codes.histograms().auroc() == 0.5
    assert auroc_bound(*codes.counts(np.ones(12, dtype=bool)), codes.exact) == 0


def test_bins_of_one_value_lose_nothing_and_others_say_so() -> None:
    maps, masks, _ = make(200, 56)
    levels = np.round(maps, 1)
    codes = PixelCodes.build(levels, masks)
    counts = codes.counts(np.ones(200, dtype=bool))
    assert codes.exact.all()
    assert auroc_bound(*counts, codes.exact) == average_precision_bound(*counts, codes.exact) == 0
    assert float(auroc_from_counts(*counts)) == pytest.approx(roc_auc_score(masks.ravel(), levels.ravel()), abs=1e-12)
    # Where values differ within bins, the bound counts those bins and no others.
    values = np.where(levels > 2, maps, levels)
    counts = (codes := PixelCodes.build(values, masks)).counts(np.ones(200, dtype=bool))
    assert 0 < codes.exact.sum() < len(codes.exact)
    distance = abs(float(auroc_from_counts(*counts)) - roc_auc_score(masks.ravel(), values.ravel()))
    assert distance <= auroc_bound(*counts, codes.exact) < auroc_bound(*counts)


def test_a_map_with_nan_is_refused() -> None:
    maps, masks, _ = make()
    maps[3, 0, 0] = np.nan
    with pytest.raises(DataError, match="map 3"):
        PixelCodes.build(maps, masks)
