"""Patch sizes, shapes and geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from vitad_med.errors import ConfigError
from vitad_med.synthesis import LocationLaw, PatchLaw
from vitad_med.synthesis.patch import Placement, draw_placement
from vitad_med.synthesis.render import cut_patch

PLAIN = {
    "scar_probability": 0.0,
    "rotation_probability": 0.0,
    "jitter_probability": 0.0,
    "rescale_probability": 0.0,
}


def draw(law: PatchLaw, seed: int = 0, height: int = 224, width: int = 224) -> Placement:
    location = LocationLaw(None, height, width, "uniform")
    return draw_placement(np.random.default_rng(seed), law, location)


def test_sizes_follow_the_papers_uniform_law() -> None:
    drawn = [draw(PatchLaw(**PLAIN), seed, 400, 400) for seed in range(600)]
    for sides in ([p.height for p in drawn], [p.width for p in drawn]):
        assert min(sides) >= 40
        assert max(sides) <= 160
        assert stats.kstest(np.array(sides) / 400, stats.uniform(0.1, 0.3).cdf).pvalue > 1e-3


def test_rotation_is_uniform_and_scars_are_thin_both_ways() -> None:
    drawn = [draw(PatchLaw(**{**PLAIN, "rotation_probability": 1.0}), seed) for seed in range(500)]
    assert stats.kstest([p.angle for p in drawn], stats.uniform(-90, 180).cdf).pvalue > 1e-3
    scars = [draw(PatchLaw(**{**PLAIN, "scar_probability": 1.0}), seed) for seed in range(200)]
    assert all(p.shape == "scar" and min(p.height, p.width) <= 0.08 * 224 + 1 for p in scars)
    assert 60 < sum(p.height > p.width for p in scars) < 140


@pytest.mark.parametrize(
    ("key", "happened"),
    [
        ("scar_probability", lambda p: p.shape == "scar"),
        ("rotation_probability", lambda p: p.angle != 0),
        ("jitter_probability", lambda p: p.contrast != 1),
        ("rescale_probability", lambda p: p.scale != 1),
    ],
)
def test_probability_keys(key: str, happened: object) -> None:
    def share(probability: float) -> float:
        law = PatchLaw(**{**PLAIN, key: probability})
        return float(np.mean([happened(draw(law, seed)) for seed in range(400)]))  # type: ignore[operator]

    assert share(0.0) == 0
    assert share(1.0) == 1
    assert 0.2 < share(0.3) < 0.4


def test_switching_jitter_off_leaves_every_other_decision() -> None:
    with_jitter, without = draw(PatchLaw(jitter_probability=1.0), 5), draw(PatchLaw(jitter_probability=0.0), 5)
    assert with_jitter.contrast != without.contrast
    for key in ("top", "left", "height", "width", "origin", "axes", "angle", "scale", "source", "destination"):
        assert getattr(with_jitter, key) == getattr(without, key)


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(16, 300),
    width=st.integers(16, 300),
    upper=st.floats(0.1, 0.56),
    scar=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_window_always_lies_inside_the_image(height: int, width: int, upper: float, scar: float, seed: int) -> None:
    law = PatchLaw(size_range=(0.1, upper), scar_probability=scar)
    p = draw(law, seed, height, width)
    assert p.top >= 1
    assert p.left >= 1
    assert p.top + p.height <= height - 1
    assert p.left + p.width <= width - 1
    assert p.area > 0
    if p.translates:
        assert 0 <= p.origin[0] <= height - p.height - 2
        assert 0 <= p.origin[1] <= width - p.width - 2


def test_moved_counts_the_centres_that_did_not_fit() -> None:
    corner = np.zeros((7, 7))
    corner[0, 0] = 1.0
    middle = np.zeros((7, 7))
    middle[3, 3] = 1.0
    for grid, moved in ((corner, 2), (middle, 0)):
        location = LocationLaw(grid, 112, 112)
        drawn = [draw_placement(np.random.default_rng(seed), PatchLaw(**PLAIN), location) for seed in range(20)]
        assert {p.moved for p in drawn} == {moved}


def test_a_plain_patch_is_a_copy_of_whole_pixels() -> None:
    image = np.random.default_rng(0).random((1, 100, 120), dtype=np.float32)
    p = draw(PatchLaw(**PLAIN), 3, 100, 120)
    assert p.translates
    top, left = int(p.origin[0]), int(p.origin[1])
    assert np.array_equal(cut_patch(image, p), image[:, top : top + p.height + 2, left : left + p.width + 2])


def test_turned_and_rescaled_patch_equals_scipy_affine() -> None:
    image = np.random.default_rng(0).random((1, 160, 160))
    for seed in range(5):
        p = draw(
            PatchLaw(scar_probability=0.0, rotation_probability=1.0, rescale_probability=1.0, jitter_probability=0.0),
            seed,
            160,
            160,
        )
        expected = ndimage.affine_transform(
            image[0], np.array(p.axes), p.origin, output_shape=(p.height + 2, p.width + 2), order=1, mode="nearest"
        )
        np.testing.assert_allclose(cut_patch(image, p)[0], expected, atol=1e-9)


def test_the_turned_region_is_the_turned_rectangle() -> None:
    p = draw(PatchLaw(**{**PLAIN, "rotation_probability": 1.0, "size_range": (0.3, 0.4)}), 1, 300, 300)
    assert p.region is not None
    assert p.region.any(axis=1).all()
    assert p.region.any(axis=0).all()
    # Rotation by a quarter turn exchanges the sides; the area of any rotation stays that of the rectangle.
    upright = draw(PatchLaw(**{**PLAIN, "size_range": (0.3, 0.4)}), 1, 300, 300)
    assert abs(p.area - upright.area) < 0.02 * upright.area


def test_contrast_pivots_on_the_mean_of_the_patch() -> None:
    image = np.random.default_rng(0).random((2, 128, 128))
    law = {**PLAIN, "jitter_probability": 1.0}
    jittered, plain = draw(PatchLaw(**law), 2, 128, 128), draw(PatchLaw(**PLAIN), 2, 128, 128)
    changed, original = cut_patch(image, jittered)[:, 1:-1, 1:-1], cut_patch(image, plain)[:, 1:-1, 1:-1]
    shift = changed.mean(axis=(1, 2)) - original.mean(axis=(1, 2))
    np.testing.assert_allclose(shift, jittered.brightness, atol=1e-12)
    np.testing.assert_allclose(changed.std(axis=(1, 2)) / original.std(axis=(1, 2)), jittered.contrast, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scar_probability": 1.5}, "scar_probability: 1.5"),
        ({"size_range": (0.4, 0.1)}, "size_range"),
        ({"size_range": (0.1, 0.7)}, "do not fit.*at or below 0.56"),
        ({"rescale_range": (0.0, 1.0)}, "rescale_range"),
        ({"contrast": -0.1}, "contrast"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PatchLaw(**options)  # type: ignore[arg-type]
