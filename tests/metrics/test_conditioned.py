"""Position and conditioned AUROC against plain loops, with their invariances."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from vitad_med.errors import DataError
from vitad_med.metrics.conditioned import PairMatrices, conditioned_auroc, position_auroc, within_image_midranks


def looped(maps: np.ndarray, masks: np.ndarray, images: list[int], ignore: np.ndarray | None = None) -> float:
    """The definition, position by position and pair by pair; images may repeat."""
    wins = pairs = 0.0
    for y in range(maps.shape[1]):
        for x in range(maps.shape[2]):
            kept = [i for i in images if ignore is None or not ignore[i, y, x]]
            for i in (i for i in kept if masks[i, y, x]):
                for j in (j for j in kept if not masks[j, y, x]):
                    wins += (maps[i, y, x] > maps[j, y, x]) + 0.5 * (maps[i, y, x] == maps[j, y, x])
                    pairs += 1
    return wins / pairs if pairs else float("nan")


def make(seed: int, images: int = 9, size: int = 7, levels: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    maps = generator.integers(0, levels, (images, size, size)).astype(np.float32)
    return maps, generator.random((images, size, size)) < 0.25


@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from([1, 3, 4096]))
@settings(max_examples=20, deadline=None)
def test_equals_the_definition(seed: int, levels: int, positions: int) -> None:
    maps, masks = make(seed, images=5, size=4, levels=levels)
    matrices = PairMatrices.build(maps, masks, positions=positions)
    np.testing.assert_allclose(matrices.auroc(), looped(maps, masks, list(range(5))), atol=1e-12)


def test_matrices_equal_their_formula_over_many_tiles() -> None:
    # Large truths make more positives in one image than one byte-wide tile of sums holds.
    maps, masks = make(1, images=6, size=40, levels=7)
    masks[0] = True
    matrices = PairMatrices.build(maps, masks)
    for i in range(6):
        for j in range(6):
            both = masks[i] & ~masks[j]
            higher = (maps[i] > maps[j]) + 0.5 * (maps[i] == maps[j])
            assert matrices.K[i, j] == higher[both].sum()
            assert matrices.D[i, j] == both.sum()


def test_weights_are_repetitions_and_a_cohort_is_a_submatrix() -> None:
    maps, masks = make(2)
    matrices = PairMatrices.build(maps, masks)
    weights = np.random.default_rng(0).integers(0, 4, (6, 9)).astype(np.uint16)
    replicates = matrices.auroc(weights)
    assert replicates.shape == (6,)
    for weight, value in zip(weights, replicates, strict=True):
        repeated = np.repeat(np.arange(9), weight)
        assert value == pytest.approx(looped(maps, masks, list(repeated)), abs=1e-12)
        assert value == pytest.approx(position_auroc(maps[repeated], masks[repeated]), abs=1e-12)
        assert matrices.auroc(weight) == value
    cohort = np.array([1, 4, 5, 8])
    flags = np.isin(np.arange(9), cohort)
    assert matrices.auroc(index=cohort) == pytest.approx(position_auroc(maps[cohort], masks[cohort]), abs=1e-12)
    assert matrices.auroc(index=flags) == matrices.auroc(index=cohort)
    np.testing.assert_allclose(matrices.auroc(weights, flags), matrices.auroc(weights * flags), atol=1e-12)


def test_ignored_pixels_are_neither_positive_nor_negative() -> None:
    maps, masks = make(3)
    ignore = np.random.default_rng(1).random(maps.shape) < 0.3
    value = PairMatrices.build(maps, masks, ignore=ignore).auroc()
    assert value == pytest.approx(looped(maps, masks, list(range(9)), ignore), abs=1e-12)
    assert value != pytest.approx(position_auroc(maps, masks), abs=1e-6)


def test_maps_that_know_nothing_score_exactly_one_half() -> None:
    generator = np.random.default_rng(4)
    masks = generator.random((12, 16, 16)) < generator.uniform(0.05, 0.6, (12, 1, 1))
    axis = (np.arange(16) + 0.5) / 16 - 0.5
    blob = np.exp(-((axis[:, None] / 0.3) ** 2) - (axis / 0.3) ** 2).astype(np.float32)
    blobs = np.broadcast_to(blob, masks.shape)
    area = np.broadcast_to(masks.mean(axis=(1, 2), keepdims=True), masks.shape)
    assert position_auroc(blobs, masks) == 0.5
    assert conditioned_auroc(blobs, masks) == 0.5
    assert conditioned_auroc(area, masks) == 0.5
    # One number per image does gain on the raw maps: that is what conditioning removes.
    assert position_auroc(area, masks) > 0.6
    assert position_auroc(masks, masks) == conditioned_auroc(masks.astype(np.float32), masks) == 1


def test_conditioned_ignores_any_increasing_change_within_an_image() -> None:
    maps, masks = make(5, levels=50)
    generator = np.random.default_rng(2)
    changed = maps * generator.uniform(0.5, 2, (9, 1, 1)).astype(np.float32) + generator.normal(size=(9, 1, 1))
    assert conditioned_auroc(changed, masks) == conditioned_auroc(maps, masks)
    assert position_auroc(changed, masks) != position_auroc(maps, masks)
    assert position_auroc(np.exp(maps / 50), masks) == position_auroc(maps, masks)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8])
def test_midranks_equal_scipy(dtype: type) -> None:
    maps = (np.random.default_rng(3).random((4, 9, 8)) * 20).astype(dtype)
    ranks = within_image_midranks(maps)
    assert ranks.dtype == np.float32
    expected = rankdata(maps.reshape(4, -1), axis=1).reshape(maps.shape)
    np.testing.assert_array_equal(ranks, expected)
    out = np.zeros_like(ranks)
    assert within_image_midranks(torch.from_numpy(maps), out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_no_pairs_is_undefined() -> None:
    maps, masks = make(6)
    assert np.isnan(position_auroc(maps, np.zeros_like(masks)))
    assert np.isnan(position_auroc(maps, np.ones_like(masks)))
    assert np.isnan(PairMatrices.build(maps, masks).auroc(index=[3]))


def test_wrong_input() -> None:
    maps, masks = make(7)
    with pytest.raises(DataError, match="must both have shape"):
        position_auroc(maps[:, :5], masks)
    with pytest.raises(DataError, match="masks hold values"):
        position_auroc(maps, masks * np.uint8(255))
    with pytest.raises(DataError, match="weights"):
        PairMatrices.build(maps, masks).auroc(np.ones(5))
    maps[2, 3, 4] = np.nan
    with pytest.raises(DataError, match="1 NaN"):
        position_auroc(maps, masks)
    with pytest.raises(DataError, match=r"map 2: .*1 NaN"):
        conditioned_auroc(maps, masks)


def test_one_map_repeated_for_every_image_needs_no_comparison_and_scores_one_half() -> None:
    masks = np.zeros((6, 8, 8), dtype=bool)
    masks[np.arange(6), np.arange(6), 2:6] = True
    one = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    repeated = PairMatrices.build(np.broadcast_to(one, masks.shape), masks)
    copied = PairMatrices.build(np.stack([one] * 6), masks)
    assert (repeated.K == copied.K).all()
    assert (repeated.D == copied.D).all()
    assert repeated.auroc() == 0.5


def test_only_the_truth_of_chosen_images_counts_as_positive() -> None:
    generator = np.random.default_rng(1)
    maps, masks = generator.random((7, 6, 6)), generator.random((7, 6, 6)) < 0.4
    chosen = np.array([True, True, False, False, True, False, False])
    matrices = PairMatrices.build(maps, masks)
    wins = pairs = 0.0
    for y, x in np.ndindex(6, 6):
        for i in np.flatnonzero(chosen & masks[:, y, x]):
            for j in np.flatnonzero(~masks[:, y, x]):
                wins += maps[i, y, x] > maps[j, y, x]
                pairs += 1
    assert matrices.auroc(positives=chosen) == pytest.approx(wins / pairs)
    twice = np.stack([np.ones(7), 2 * np.ones(7)])
    assert matrices.auroc(twice, positives=chosen) == pytest.approx([wins / pairs] * 2)
