"""Attention-guided anomalies: both paths agree, masks tell the truth, and what cannot work is said."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
import torch

import vitad_med.synthesis.attn_synth as module
from vitad_med.data.image_io import read_image, resize
from vitad_med.errors import ConfigError, DataError
from vitad_med.synthesis import AttnSynth, SyntheticScheme, summarize_info

COUNT, SIDE = 6, 96
VARIANTS: list[dict[str, Any]] = [
    {},
    {"gradients": "mixed"},
    {"blend": "paste"},
    {"mask_from": "difference"},
    {"mask_from": "difference", "blend": "paste", "rotation_probability": 1.0},
    {"location": "softmax", "temperature": 0.001, "rotation_probability": 1.0, "gradients": "mixed"},
    {"scar_probability": 1.0, "rotation_probability": 1.0},
    {"rotation_probability": 0.0, "rescale_probability": 0.0, "jitter_probability": 0.0, "gradients": "mixed"},
]


def make_images(count: int = COUNT, channels: int = 1, side: int = SIDE) -> np.ndarray:
    """Smooth structure plus fine 8-bit grain, like an X-ray: float32 [count, channels, side, side] in 0..1."""
    generator = np.random.default_rng(11)
    y, x = np.mgrid[:side, :side] / side
    images = np.empty((count, channels, side, side))
    for image in images.reshape(-1, side, side):
        a, b, c = generator.uniform(3, 9, 3)
        image[...] = 0.45 + 0.25 * np.sin(a * y + b) * np.cos(c * x) + generator.normal(0, 0.02, (side, side))
    return (np.round(images.clip(0, 1) * 255) / 255).astype(np.float32)


def make_saliency(count: int = COUNT, side: int = 12) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    grid = np.exp(-((y + 1) ** 2 + x**2) / 18)
    return np.repeat((grid / grid.sum())[None], count, axis=0).astype(np.float32)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_numpy_and_torch_paths_make_the_same_anomaly(options: dict[str, Any], channels: int) -> None:
    images, saliency = make_images(channels=channels), make_saliency()
    scheme = AttnSynth(renderer="batched", **options)
    batch = scheme.batch(torch.from_numpy(images), torch.from_numpy(saliency), seed=5)
    assert batch.images.shape == images.shape
    assert batch.masks.shape == (COUNT, 1, SIDE, SIDE)
    assert batch.masks.dtype == torch.uint8
    assert batch.labels.tolist() == [1.0] * COUNT
    for k in range(COUNT):
        sample = scheme.sample(images[k], saliency[k], 5, index=k)
        assert sample.label == 1
        assert sample.info == batch.info[k]
        assert np.array_equal(sample.mask, batch.masks[k, 0].numpy())
        np.testing.assert_allclose(sample.image, batch.images[k].numpy(), atol=1e-6)


def test_every_renderer_repeats_bit_for_bit_and_differs_between_seeds() -> None:
    images, saliency = torch.from_numpy(make_images()), torch.from_numpy(make_saliency())
    for renderer in ("per_image", "batched"):
        scheme = AttnSynth(renderer=renderer)
        first, second, other = (scheme.batch(images, saliency, seed) for seed in (1, 1, 2))
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.masks, second.masks)
        assert first.info == second.info
        assert not torch.equal(first.images, other.images)


def test_an_anomaly_does_not_depend_on_its_batch() -> None:
    images, saliency = torch.from_numpy(make_images()), torch.from_numpy(make_saliency())
    for renderer in ("auto", "batched"):
        scheme = AttnSynth(renderer=renderer)
        whole = scheme.batch(images, saliency, 9)
        alone = scheme.batch(images[3:4], saliency[3:4], 9, indices=[3])
        torch.testing.assert_close(alone.images[0], whole.images[3], atol=1e-6, rtol=0)
        assert torch.equal(alone.masks[0], whole.masks[3])
        assert alone.info[0] == whole.info[3]


def test_seed_sequences_are_seeds() -> None:
    image, saliency = make_images(1)[0], make_saliency(1)[0]
    from_int = AttnSynth().sample(image, saliency, 4, index=2)
    from_sequence = AttnSynth().sample(image, saliency, np.random.SeedSequence(4), index=2)
    spawned = AttnSynth().sample(image, saliency, np.random.SeedSequence(4).spawn(1)[0], index=2)
    assert np.array_equal(from_int.image, from_sequence.image)
    assert not np.array_equal(from_int.image, spawned.image)


def test_autocast_does_not_touch_the_result() -> None:
    images, saliency = torch.from_numpy(make_images()), torch.from_numpy(make_saliency())
    scheme = AttnSynth(renderer="batched")
    plain = scheme.batch(images, saliency, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = scheme.batch(images, saliency, 3)
    assert torch.equal(plain.images, cast.images)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_pixels_outside_the_region_are_bit_identical_and_most_inside_change(options: dict[str, Any]) -> None:
    images, saliency = make_images(), make_saliency()
    options = {**options, "mask_from": "region"}
    turned = 0
    for seed in range(12):
        scheme = AttnSynth(**options)
        k = seed % COUNT
        sample = scheme.sample(images[k], saliency[k], seed)
        difference = np.abs(sample.image - images[k])[0]
        inside = sample.mask == 1
        assert not difference[~inside].any()
        changed = (difference > scheme.change_threshold)[inside].mean()
        assert changed == pytest.approx(sample.info["changed_fraction"], abs=1e-9)
        assert changed >= scheme.min_changed_fraction
        assert sample.image.min() >= 0
        assert sample.image.max() <= 1
        turned += sample.info["angle"] != 0
    assert (turned > 0) == (scheme.rotation_probability > 0)


def test_difference_mask_is_exactly_what_changed() -> None:
    images, saliency = make_images(channels=3), make_saliency()
    scheme = AttnSynth(mask_from="difference", renderer="batched")
    batch = scheme.batch(torch.from_numpy(images), torch.from_numpy(saliency), 8)
    changed = (batch.images - torch.from_numpy(images)).abs().amax(dim=1, keepdim=True) > scheme.change_threshold
    assert torch.equal(batch.masks.bool(), changed)
    region = AttnSynth().batch(torch.from_numpy(images), torch.from_numpy(saliency), 8)
    assert (batch.masks <= region.masks).all()
    assert batch.masks.sum() < region.masks.sum()


def test_centres_follow_the_saliency() -> None:
    image = make_images(1)[0]
    left_half = np.full((8, 8), 0.1)
    left_half[:, :4] = 1.0
    shares = {}
    for location in ("proportional", "softmax", "uniform"):
        scheme = AttnSynth(location=location, size_range=(0.1, 0.12), blend="paste", scar_probability=0.0)
        drawn = [scheme.sample(image, left_half / left_half.sum(), seed).info for seed in range(400)]
        centres = [info[site][1] for info in drawn for site in ("source", "destination")]
        shares[location] = np.mean(np.array(centres) < SIDE / 2)
    # 10 : 1 mass, smoothed a little by the resize at the border between the halves.
    assert 0.86 < shares["proportional"] < 0.95
    assert 0.45 < shares["softmax"] < 0.55
    assert 0.45 < shares["uniform"] < 0.55


def test_redraws_until_enough_has_changed() -> None:
    # A horizontal edge, and all saliency in one token: a patch pasted a few rows away changes only those few rows.
    image = np.full((1, SIDE, SIDE), 0.2, dtype=np.float32)
    image[:, SIDE // 2 :] = 0.8
    grid = np.zeros((12, 12))
    grid[6, 6] = 1.0
    plain = {
        "scar_probability": 0.0,
        "rotation_probability": 0.0,
        "jitter_probability": 0.0,
        "rescale_probability": 0.0,
        "blend": "paste",
    }
    # At a minimum of 0 any change will do.
    lenient, strict = AttnSynth(min_changed_fraction=0.0, **plain), AttnSynth(min_changed_fraction=0.15, **plain)
    first = [lenient.sample(image, grid, seed).info for seed in range(30)]
    final = [strict.sample(image, grid, seed).info for seed in range(30)]
    assert any(info["changed_fraction"] < 0.15 for info in first)
    assert all(info["changed_fraction"] >= 0.15 and not info["below_minimum"] for info in final)
    for before, after in zip(first, final, strict=True):
        assert (after["redraws"] > before["redraws"]) == (before["changed_fraction"] < 0.15)
    batch = AttnSynth(min_changed_fraction=0.15, renderer="batched", **plain)
    images = torch.from_numpy(np.repeat(image[None], 30, axis=0))
    redrawn = batch.batch(images, torch.from_numpy(np.repeat(grid[None], 30, axis=0)), 0)
    assert [info["redraws"] for info in redrawn.info] == [
        strict.sample(image, grid, 0, index=k).info["redraws"] for k in range(30)
    ]
    assert sum(info["redraws"] for info in redrawn.info) > 0


@pytest.mark.parametrize("renderer", ["per_image", "batched"])
def test_when_redraws_run_out_the_best_draw_is_kept_and_flagged(renderer: str) -> None:
    images, saliency = torch.from_numpy(make_images()), torch.from_numpy(make_saliency())
    greedy = AttnSynth(min_changed_fraction=1.0, max_redraws=4, change_threshold=0.02, renderer=renderer)
    batch = greedy.batch(images, saliency, 0)
    flagged = [info for info in batch.info if info["below_minimum"]]
    assert flagged
    assert all(info["redraws"] == 4 for info in flagged)
    single = AttnSynth(min_changed_fraction=1.0, max_redraws=0, change_threshold=0.02, renderer=renderer)
    first = single.batch(images, saliency, 0)
    assert all(a["changed_fraction"] >= b["changed_fraction"] for a, b in zip(batch.info, first.info, strict=True))
    changed = (batch.images - images).abs().amax(dim=1) > 0.02
    for k, info in enumerate(batch.info):
        region = batch.masks[k, 0].bool()
        assert changed[k][region].double().mean().item() == pytest.approx(info["changed_fraction"], abs=1e-9)
        assert not changed[k][~region].any()


def test_sixteen_bit_values_survive() -> None:
    generator = np.random.default_rng(0)
    stored = generator.integers(30000, 31000, (1, SIDE, SIDE))
    image = (stored / 65535).astype(np.float32)
    sample = AttnSynth(blend="paste", rotation_probability=0, rescale_probability=0, jitter_probability=0).sample(
        image, make_saliency(1)[0], 0
    )
    back = sample.image * 65535
    # A pasted patch holds the stored values themselves, finer than an 8-bit step of 257.
    assert np.abs(back - np.round(back)).max() < 0.01
    assert set(np.round(back).astype(int)[sample.mask[None] == 1]) <= set(stored.ravel().tolist())
    assert len(np.unique(np.round(back))) > 500


def test_uniform_law_needs_no_saliency() -> None:
    scheme = AttnSynth(location="uniform")
    assert not scheme.needs_saliency
    images = torch.from_numpy(make_images(2))
    assert scheme.batch(images, None, 0).info[0]["entropy"] == 1.0
    assert AttnSynth().needs_saliency
    with pytest.raises(DataError, match="needs a saliency map"):
        AttnSynth().batch(images, None, 0)


@pytest.mark.parametrize("renderer", ["per_image", "batched"])
def test_half_precision_and_strided_images(renderer: str) -> None:
    images, saliency = torch.from_numpy(make_images(channels=3)), torch.from_numpy(make_saliency())
    scheme = AttnSynth(renderer=renderer)
    plain = scheme.batch(images, saliency, 0)
    strided = scheme.batch(images.contiguous(memory_format=torch.channels_last), saliency, 0)
    torch.testing.assert_close(strided.images, plain.images, atol=1e-6, rtol=0)
    half = scheme.batch(images.to(torch.bfloat16), saliency, 0)
    assert half.images.dtype == torch.bfloat16
    outside = (half.masks == 0).expand_as(half.images)
    assert torch.equal(half.images[outside], images.to(torch.bfloat16)[outside])


@pytest.mark.parametrize("renderer", ["per_image", "batched"])
def test_constant_and_broken_images_are_named(renderer: str) -> None:
    images, saliency = torch.from_numpy(make_images()), torch.from_numpy(make_saliency())
    scheme = AttnSynth(renderer=renderer)
    black = images.clone()
    black[2] = 0
    with pytest.raises(DataError, match="image 2 of the batch is constant"):
        scheme.batch(black, saliency, 0)
    broken = images.clone()
    broken[4, 0, 5, 5] = float("nan")
    with pytest.raises(DataError, match="image 4 of the batch holds NaN"):
        scheme.batch(broken, saliency, 0)
    # One odd pixel in a corner: not constant, yet no patch can change it.
    flat = images.clone()
    flat[1] = 0.5
    flat[1, 0, 0, 0] = 0.5001
    with pytest.raises(DataError, match="image 1 of the batch is so even that none of 21 patches"):
        scheme.batch(flat, saliency, 0)
    names = [f"folder/{k}.png" for k in range(len(flat))]
    with pytest.raises(DataError, match=r"folder/1\.png is so even"):
        scheme.batch(flat, saliency, 0, names=names)
    with pytest.raises(DataError, match="the image is constant"):
        scheme.sample(black[2].numpy(), saliency[2].numpy(), 0)


def test_wrong_shapes_and_keys_are_refused() -> None:
    images, saliency = torch.from_numpy(make_images()), torch.from_numpy(make_saliency())
    with pytest.raises(DataError, match="uint8"):
        AttnSynth().batch((images * 255).to(torch.uint8), saliency, 0)
    with pytest.raises(DataError, match=r"saliency maps \[6, h, w\]"):
        AttnSynth().batch(images, saliency[:2], 0)
    with pytest.raises(ConfigError, match="indices: 2"):
        AttnSynth().batch(images, saliency, 0, indices=[0, 1])
    with pytest.raises(DataError, match="too small"):
        AttnSynth().sample(images[0, :, :10].numpy(), saliency[0].numpy(), 0)
    for options in (
        {"location": "attention"},
        {"blend": "alpha"},
        {"gradients": "max"},
        {"mask_from": "box"},
        {"renderer": "gpu"},
        {"min_changed_fraction": 2.0},
        {"max_redraws": -1},
        {"size_range": [0.1, 0.9]},
    ):
        with pytest.raises(ConfigError, match=next(iter(options))):
            AttnSynth(**options)


def test_lists_from_a_json_config_are_ranges() -> None:
    image, saliency = make_images(1)[0], make_saliency(1)[0]
    from_lists = AttnSynth(size_range=[0.1, 0.3]).sample(image, saliency, 0)  # type: ignore[arg-type]
    assert np.array_equal(from_lists.image, AttnSynth(size_range=(0.1, 0.3)).sample(image, saliency, 0).image)


def test_info_summary_and_protocol() -> None:
    scheme = AttnSynth()
    assert isinstance(scheme, SyntheticScheme)
    batch = scheme.batch(torch.from_numpy(make_images()), torch.from_numpy(make_saliency()), 0)
    summary = summarize_info(batch.info)
    assert summary["moved"] == pytest.approx(np.mean([info["moved"] for info in batch.info]))
    assert 0.8 < summary["entropy"] < 0.99
    assert {"redraws", "changed_fraction", "below_minimum"} <= summary.keys()


def test_docstring_example_runs() -> None:
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_a_real_chest_x_ray(nih_mini: Any) -> None:
    path = sorted((nih_mini / "images").iterdir())[0]
    image = resize(read_image(path), 224)
    assert image.shape == (1, 224, 224)
    sample = AttnSynth().sample(image, make_saliency(1, 14)[0], 0)
    assert np.array_equal(sample.image[:, sample.mask == 0], image[:, sample.mask == 0])
    assert sample.info["changed_fraction"] >= 0.25
