"""Crops cut what they say, masks move with images, and the draws follow the generator."""

from __future__ import annotations

import pytest
import torch

from vitad_med.augmentation.intensity import Augment, gaussian_blur
from vitad_med.augmentation.multicrop import MultiCrop, crop, move_onto, random_crops
from vitad_med.errors import ConfigError
from vitad_med.reproducibility import generator

RATIO = (3 / 4, 4 / 3)


def test_the_whole_image_and_its_quarters() -> None:
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    torch.testing.assert_close(crop(image, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 8), image)
    lower_right = crop(image, torch.tensor([[0.5, 0.5, 0.5, 0.5]]), 4)
    torch.testing.assert_close(lower_right, image[:, :, 4:, 4:])


def test_rectangles_stay_inside_and_have_the_asked_area() -> None:
    rectangles = random_crops(4000, (0.05, 0.4), RATIO, generator(1))
    centre, half = rectangles[:, :2], rectangles[:, 2:]
    assert float((centre.abs() + half).max()) <= 1 + 1e-6
    area = half.prod(dim=1)
    assert float(area.min()) >= 0.05 - 1e-6
    assert float(area.max()) <= 0.4 + 1e-6
    assert float(area.mean()) == pytest.approx(0.225, abs=0.01)


def test_a_mask_is_cropped_with_its_image() -> None:
    image = torch.zeros(3, 1, 64, 64)
    image[:, :, 20:40, 10:50] = 1
    rectangles = random_crops(3, (0.1, 0.9), RATIO, generator(2))
    shown = crop(image, rectangles, 32)
    mask = crop(image, rectangles, 32, mode="nearest")
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert float((shown - mask).abs().mean()) < 0.05


def test_draws_follow_the_generator() -> None:
    views = MultiCrop(2, 64, (0.4, 1.0), 3, 32, (0.05, 0.4))
    first, again, other = (views.rectangles(5, generator(seed)) for seed in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (2, 5, 4)
    assert first[1].shape == (3, 5, 4)


def test_intensity_draws_are_per_image_and_stay_in_range() -> None:
    images = torch.rand(1, 1, 16, 16).expand(4, -1, -1, -1)
    out = Augment(0.2, 0.4, 0.3, 1.5, 0.5)(images, generator(3))
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    assert not torch.equal(out[0], out[1])
    assert torch.equal(out, Augment(0.2, 0.4, 0.3, 1.5, 0.5)(images, generator(3)))
    untouched = Augment(0, 0, 0, 0, 0)(images, generator(3))
    torch.testing.assert_close(untouched, images)


def test_an_image_of_little_range_is_not_clipped_flat() -> None:
    """Twelve bits in sixteen: an offset of .1 below would leave nothing of it."""
    images = (torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.0625).clamp(min=0.001)
    out = Augment(brightness=0.1)(images, torch.Generator().manual_seed(1))
    assert float((out.amax(dim=(1, 2, 3)) - out.amin(dim=(1, 2, 3))).min()) > 0.01


def test_flip_probability_one_mirrors() -> None:
    images = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(Augment(0, 0, 0, 0, 1.0)(images, generator(0)), images.flip(-1))


def test_blur_keeps_the_mean_and_widens_with_sigma() -> None:
    images = torch.zeros(2, 3, 33, 33)
    images[:, :, 16, 16] = 1
    out = gaussian_blur(images, torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(out.sum(dim=(2, 3)), torch.ones(2, 3))
    assert float(out[0, 0, 16, 16]) > float(out[1, 0, 16, 16])


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: MultiCrop(global_scale=(0.9, 0.4)), "global_scale"),
        (lambda: MultiCrop(local_scale=(0.1, 1.4)), "local_scale"),
        (lambda: MultiCrop(global_views=0), "global_views"),
        (lambda: Augment(brightness=-1), "brightness"),
        (lambda: Augment(flip=2), "flip"),
    ],
)
def test_bad_keys(make, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        make()


def test_moved_crops_show_the_anomaly_and_stay_inside() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(4, 1, 60, 100, dtype=torch.uint8)
    masks[0, :, 10:12, 70:90] = 1
    masks[1, :, :5, :5] = 1
    masks[2, :, 58:, 95:] = 1
    masks[3] = 1
    rectangles = random_crops(4, (0.1, 0.3), (0.75, 1.33), generator)
    moved = move_onto(rectangles, masks, generator)
    assert torch.equal(moved[:, 2:], rectangles[:, 2:])
    assert bool((moved[:, :2].abs() + moved[:, 2:] <= 1 + 1e-6).all())
    assert bool((crop(masks.float(), moved, 64, mode="nearest").flatten(1).sum(dim=1) > 0).all())
