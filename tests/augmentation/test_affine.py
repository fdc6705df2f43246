"""Affine augmentation does what its keys say, and nothing else."""

from __future__ import annotations

import pytest
import torch

from vitad_med.augmentation.affine import RandomAffine
from vitad_med.errors import ConfigError
from vitad_med.reproducibility import generator


def test_without_a_key_images_stay_bit_for_bit() -> None:
    images = torch.rand(3, 1, 9, 9)
    assert torch.equal(RandomAffine()(images, generator(0)), images)


def test_mirror_images() -> None:
    images = torch.rand(40, 1, 6, 5)
    assert torch.equal(RandomAffine(horizontal_flip=1.0)(images, generator(0)), images.flip(-1))
    assert torch.equal(RandomAffine(vertical_flip=1.0)(images, generator(0)), images.flip(-2))
    half = RandomAffine(horizontal_flip=0.5)(images, generator(0))
    turned = [bool(torch.equal(a, b.flip(-1))) for a, b in zip(half, images, strict=True)]
    kept = [bool(torch.equal(a, b)) for a, b in zip(half, images, strict=True)]
    assert all(t != k for t, k in zip(turned, kept, strict=True))
    assert 8 <= sum(turned) <= 32


def test_rotations_are_rigid_and_stay_below_their_limit() -> None:
    theta = RandomAffine(rotation=20.0).matrices(2000, generator(1)).double()
    square = theta[:, :, :2]
    torch.testing.assert_close(square @ square.transpose(1, 2), torch.eye(2, dtype=torch.double).expand(2000, -1, -1))
    angles = torch.rad2deg(torch.atan2(square[:, 1, 0], square[:, 0, 0]))
    assert 19 < float(angles.max()) <= 20.001
    assert -20.001 <= float(angles.min()) < -19
    assert not theta[:, :, 2].any()


def disc(height: int, width: int, radius: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    distance = ((y - height / 2) ** 2 + (x - width / 2) ** 2).sqrt()
    return (radius - distance + 0.5).clamp(0, 1)[None, None]


@pytest.mark.parametrize("size", [(48, 48), (48, 96)])
def test_a_disc_in_the_middle_survives_any_rotation(size: tuple[int, int]) -> None:
    image = disc(*size, 15)
    turned = RandomAffine(rotation=180.0)(image.expand(8, -1, -1, -1), generator(2))
    assert float((turned - image).abs().max()) < 0.35  # the rim alone, by resampling
    assert float((turned - image).abs().mean()) < 0.01


def test_scale_enlarges_by_its_factor() -> None:
    augment = RandomAffine(scale=0.3)
    image = disc(64, 64, 12)
    areas = augment(image.expand(6, -1, -1, -1), generator(3)).sum(dim=(1, 2, 3))
    factors = 1 / augment.matrices(6, generator(3))[:, 0, 0]
    drawn = 1 / augment.matrices(2000, generator(3))[:, 0, 0]
    assert (float(drawn.min()), float(drawn.max())) == pytest.approx((0.7, 1.3), abs=0.002)
    torch.testing.assert_close(areas, image.sum() * factors**2, rtol=0.02, atol=0)


def test_translation_moves_by_a_fraction_of_the_side() -> None:
    augment = RandomAffine(translation=0.2)
    image = disc(60, 40, 6)
    moved = augment(image.expand(5, -1, -1, -1), generator(4))
    shift = (
        augment.matrices(5, generator(4))[:, :, 2] / 2
    )  # of the side; where from, so the picture moves the other way
    drawn = augment.matrices(2000, generator(4))[:, :, 2] / 2
    torch.testing.assert_close(drawn.abs().amax(dim=0), torch.tensor([0.2, 0.2]), atol=0.002, rtol=0)
    mass = moved.sum(dim=(1, 2, 3))
    x = (moved.sum(dim=(1, 2)) @ (torch.arange(40) + 0.5)) / mass / 40 - 0.5
    y = (moved.sum(dim=(1, 3)) @ (torch.arange(60) + 0.5)) / mass / 60 - 0.5
    torch.testing.assert_close(torch.stack([x, y], dim=1), -shift, atol=2e-3, rtol=0)


def test_shear_moves_rows_sideways_only() -> None:
    square = RandomAffine(shear=30.0).matrices(50, generator(5))[:, :, :2]
    torch.testing.assert_close(square[:, 1], torch.tensor([0.0, 1.0]).expand(50, 2))
    torch.testing.assert_close(square[:, 0, 0], torch.ones(50))
    assert 0.3 < float(square[:, 0, 1].abs().max()) <= 0.5774


@pytest.mark.parametrize(("padding", "corner"), [("zeros", 0.0), ("border", 1.0), ("reflection", 1.0)])
def test_what_lies_outside(padding, corner: float) -> None:
    turned = RandomAffine(rotation=180.0, padding=padding)(torch.ones(16, 1, 20, 20), generator(6))
    assert float(turned[:, 0, 0, 0].min()) == pytest.approx(corner, abs=1e-5)


def test_one_seed_gives_one_result_in_range() -> None:
    augment = RandomAffine(10.0, 0.05, 0.1, 5.0, 0.5, 0.5)
    images = torch.rand(4, 3, 16, 16)
    first, again, other = (augment(images, generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"rotation": -1.0}, "rotation"),
        ({"translation": 1.5}, "translation"),
        ({"scale": 1.0}, "scale"),
        ({"shear": 80.0}, "shear"),
        ({"horizontal_flip": 2.0}, "horizontal_flip"),
        ({"vertical_flip": -0.5}, "vertical_flip"),
        ({"padding": "mirror"}, "padding"),
    ],
)
def test_mistakes_are_refused_by_name(options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=f"'{key}'"):
        RandomAffine(**options)  # type: ignore[arg-type]
