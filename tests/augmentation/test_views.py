"""Views show what their masks say, teacher and student draw apart, and draws follow from seed and step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.masking import Masking
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.augmentation.views import PairedViews, SharedViews, StepViews, ViewMaker
from vitad_med.errors import ConfigError

PATCH = 8
MULTICROP = MultiCrop(1, 64, (0.4, 1.0), 3, 32, (0.1, 0.4))
TWO_GLOBAL = MultiCrop(2, 64, (0.4, 1.0), 3, 32, (0.1, 0.4))


def brightness(images: Tensor) -> Tensor:
    """Stands for attention: bright patches are salient."""
    return F.avg_pool2d(images, PATCH).mean(dim=1)


def never(images: Tensor) -> Tensor:
    raise AssertionError("saliency was asked for")


@pytest.fixture
def images() -> Tensor:
    """Smooth pictures without symmetry or trend."""
    draws = torch.Generator().manual_seed(0)
    return F.interpolate(torch.rand(4, 1, 6, 6, generator=draws), size=64, mode="bicubic").clamp(0, 1)


def dropped_and_kept(views: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Mean brightness of the patches that go and of those that stay, one number a view."""
    values = brightness(views).flatten(1)
    stays = torch.zeros_like(values, dtype=torch.bool).scatter_(1, kept, True)
    return (values * ~stays).sum(1) / (~stays).sum(1), (values * stays).sum(1) / stays.sum(1)


@pytest.mark.parametrize("saliency", ["per_image", "per_view"])
@pytest.mark.parametrize("maker", [PairedViews, SharedViews])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_masks_follow_the_geometry_of_each_view(
    images: Tensor, maker: Callable[..., ViewMaker], saliency: str, flip: float
) -> None:
    multicrop = MULTICROP if maker is PairedViews else TWO_GLOBAL
    if maker is SharedViews and saliency == "per_image" and flip:
        with pytest.raises(ConfigError, match="saliency to 'per_view'"):
            maker(multicrop, Augment(flip=flip), masking=Masking(), patch=PATCH, saliency=saliency)
        return
    make = maker(multicrop, Augment(0, 0, 0, 0, flip), 1, Masking("attention", 0.3), PATCH, saliency)
    large, small = make(images, 5, 0, brightness).student
    views = 4 * multicrop.global_views
    assert large.images.shape == (views, 1, 64, 64)
    assert small.images.shape == (12, 1, 32, 32)
    assert large.kept is not None
    assert small.kept is not None
    assert large.kept.shape == (views, 64 - 19)
    assert small.kept.shape == (12, 16 - 4)
    for group, count in ((large, 19), (small, 4)):
        gone, stays = dropped_and_kept(group.images, group.kept)  # type: ignore[arg-type]
        assert bool((gone < stays).all())
        lowest = brightness(group.images).flatten(1).argsort(dim=1)[:, :count]
        for low, kept in zip(lowest, group.kept, strict=True):  # type: ignore[arg-type]
            right = len(set(low.tolist()) - set(kept.tolist())) / count
            # The map of the whole image has a coarser grid than a view.
            assert right == 1 if saliency == "per_view" else right >= 0.75


def test_the_teacher_sees_the_whole_image_in_an_augmentation_of_its_own(images: Tensor) -> None:
    plain = PairedViews(MULTICROP, Augment(0, 0, 0, 0, 0))(images, 0, 0, never)
    torch.testing.assert_close(plain.teacher, images)
    assert plain.student[0].kept is None
    whole = MultiCrop(1, 64, (1.0, 1.0), 0, ratio=(1.0, 1.0))
    drawn = PairedViews(whole, Augment())(images, 0, 0, never)
    assert not torch.allclose(drawn.teacher, drawn.student[0].images, atol=0.02)
    assert len(drawn.student) == 1


def test_a_cropped_teacher_stays_unmasked(images: Tensor) -> None:
    views = PairedViews(MULTICROP, Augment(0, 0, 0, 0, 0), 0, Masking(), PATCH, teacher_scale=(0.3, 0.5))
    made = views(images, 0, 0, brightness)
    assert made.teacher.shape == images.shape
    assert not torch.allclose(made.teacher, images, atol=0.02)


def test_saliency_is_asked_for_once_an_image_or_once_a_view_size(images: Tensor) -> None:
    asked: list[tuple[int, ...]] = []

    def attention(batch: Tensor) -> Tensor:
        asked.append(tuple(batch.shape))
        return brightness(batch)

    for saliency in ("per_image", "per_view"):
        PairedViews(MULTICROP, Augment(), 0, Masking(), PATCH, saliency)(images, 0, 0, attention)  # type: ignore[arg-type]
    assert asked == [(4, 1, 64, 64), (4, 1, 64, 64), (12, 1, 32, 32)]
    PairedViews(MULTICROP, Augment(), 0, Masking("random"), PATCH)(images, 0, 0, never)


def test_masks_of_global_views_alone(images: Tensor) -> None:
    made = PairedViews(MULTICROP, Augment(), 0, Masking("random", 0.3, local=False), PATCH)(images, 0, 0, never)
    assert made.student[0].kept is not None
    assert made.student[1].kept is None


def test_shared_global_views_are_the_same_pictures_and_hidden_patches_are_those_masked(images: Tensor) -> None:
    made = SharedViews(TWO_GLOBAL, Augment(), 0, Masking("random", 0.3), PATCH, hide=True)(images, 0, 0, never)
    large, small = made.student
    assert torch.equal(made.teacher, large.images)
    assert large.kept is None
    assert large.hidden is not None
    assert large.hidden.shape == (8, 64)
    assert set(large.hidden.sum(dim=1).tolist()) == {19}
    assert small.hidden is None
    assert small.kept is None


@pytest.mark.parametrize("maker", [PairedViews, SharedViews])
def test_draws_follow_from_seed_step_and_process(images: Tensor, maker: Callable[..., ViewMaker]) -> None:
    def made(seed: int, step: int, rank: int) -> StepViews:
        return maker(TWO_GLOBAL, Augment(blur=1.0), seed, Masking("random"), PATCH)(images, step, rank, never)

    first = made(3, 7, 0)
    again = made(3, 7, 0)
    assert torch.equal(first.teacher, again.teacher)
    for one, other in zip(first.student, again.student, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.kept, other.kept)  # type: ignore[arg-type]
    for other in (made(4, 7, 0), made(3, 8, 0), made(3, 7, 1)):
        assert not torch.equal(first.student[0].images, other.student[0].images)


def test_bad_keys() -> None:
    with pytest.raises(ConfigError, match="saliency 'each' is unknown"):
        PairedViews(MULTICROP, Augment(), saliency="each")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="teacher_scale"):
        PairedViews(MULTICROP, Augment(), teacher_scale=(0.5, 1.5))
