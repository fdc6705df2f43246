"""Golden images: the same everywhere, none of them empty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitad_med.errors import WeightsError
from vitad_med.scoring.backends.certificate import TOLERANCES, deviations, exceeded
from vitad_med.scoring.backends.golden import Golden, golden_images


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_repeatable_and_different(channels: int, repo_root: Path, tmp_path: Path) -> None:
    images, kinds = golden_images(repo_root / "bundles" / "attn_synth", channels, 48)
    again, _ = golden_images(repo_root / "bundles" / "attn_synth", channels, 48)
    assert (images == again).all()
    assert images.shape == (8, channels, 48, 48)
    assert kinds[4:] == ["radiograph"] * 4
    flat = images.reshape(8, -1).astype(float)
    assert (flat.std(axis=1) > 2000).all()
    assert len(np.unique(flat, axis=0)) == 8
    made, kinds = golden_images(tmp_path / "bundles" / "elsewhere", channels, 48)
    assert (made == images[:4]).all()
    assert kinds == ["two lungs", "two lungs and a spot", "black borders", "waves"]


def golden() -> Golden:
    images, _ = golden_images(Path("absent"), 1, 16)
    return Golden(images, np.full((4, 1, 16, 16), 0.5, np.float32), np.full(4, 0.25, np.float32))


def test_a_file_gives_back_what_it_was_made_of(tmp_path: Path) -> None:
    made = golden()
    read = Golden.of_content(made.content(), tmp_path)
    for name in ("images", "map", "score"):
        assert (getattr(read, name) == getattr(made, name)).all()
    assert read.images.dtype == np.uint16
    assert made.content() == golden().content()
    with pytest.raises(WeightsError, match="holds no golden images"):
        Golden.of_content(b"something else", tmp_path)


def test_deviations_are_the_largest_of_any_image() -> None:
    made = golden()
    amap, score = made.map.copy(), made.score.copy()
    amap[2, 0, 3, 3] += 0.25
    score[1] -= 0.125
    found = deviations(made, amap, score)
    assert found == {"score": 0.125, "map_mean": 0.25 / 256, "map_pixel": 0.25}


@pytest.mark.parametrize(
    ("key", "words"), [("score", "scores"), ("map_mean", "averaged over an image"), ("map_pixel", "single pixels")]
)
def test_each_tolerance_counts(key: str, words: str) -> None:
    tolerance = TOLERANCES["float32"]
    assert exceeded(tolerance, tolerance) is None
    for value in (1.5 * tolerance[key], float("nan")):
        problem = exceeded({**tolerance, key: value}, tolerance)
        assert problem is not None
        assert words in problem


def test_another_shape_or_a_value_that_is_not_finite_is_never_within() -> None:
    made = golden()
    broken = made.map.copy()
    broken[0, 0, 0, 0] = np.nan
    for amap in (broken, made.map[:, :, :8], made.map[:2]):
        assert exceeded(deviations(made, amap, made.score), TOLERANCES["float32"]) is not None
