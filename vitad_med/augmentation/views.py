"""The views of one pre-training step: what the teacher sees, what the student sees, which patches it does not see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.masking import Masking, complement
from vitad_med.augmentation.multicrop import MultiCrop, check_scale, crop, random_crops
from vitad_med.errors import ConfigError
from vitad_med.reproducibility import generator

SaliencySource = Literal["per_image", "per_view"]
# Images [B, C, S, S] in 0..1 to saliency on their patch grid, [B, rows, columns].
SaliencyMap = Callable[[Tensor], Tensor]

_SQUARE = (1.0, 1.0)


@dataclass(frozen=True)
class StudentViews:
    """Views of one size.

    Attributes:
        images: [views * B, C, S, S] in 0..1, view by view.
        kept: indices of the patch tokens that go through the encoder, [views * B, n]; None is all of them.
        hidden: True where a mask token stands in for a patch, [views * B, N]; None is nowhere.
    """

    images: Tensor
    kept: Tensor | None = None
    hidden: Tensor | None = None


@dataclass(frozen=True)
class StepViews:
    """What both networks see in one step.

    Attributes:
        teacher: [teacher's views * B, C, S, S] in 0..1.
        student: global views, then local ones where there are any.
    """

    teacher: Tensor
    student: list[StudentViews]


class ViewMaker:
    """What both arrangements of views share: geometry, masking, and a seed from which every draw of a step follows.

    Args:
        multicrop: sizes, scales and numbers of the student's views.
        augment: intensity augmentation and mirroring.
        seed: of all draws.
        masking: which patches the student does not see.
        patch: side of a patch in pixels; needed for masking.
        saliency: ``per_image`` one map of the whole image, cropped and resized like each view, ``per_view`` a map of
            every view, which costs as much as masking saves.

    Attributes:
        unshared: index of the student's first view that the teacher does not see in the same augmentation.
    """

    unshared = 0

    def __init__(
        self,
        multicrop: MultiCrop,
        augment: Augment,
        seed: int = 0,
        masking: Masking | None = None,
        patch: int = 16,
        saliency: SaliencySource = "per_image",
    ) -> None:
        if saliency not in ("per_image", "per_view"):
            raise ConfigError(f"saliency '{saliency}' is unknown: use 'per_image' or 'per_view'")
        self.multicrop = multicrop
        self.augment = augment
        self.seed = seed
        self.masking = masking or Masking("none")
        self.patch = patch
        self.saliency = saliency

    def __call__(self, images: Tensor, step: int, rank: int, attention: SaliencyMap) -> StepViews:
        """Views of images [B, C, S, S] in 0..1 at a step.

        Args:
            images: the batch.
            step: counted from 0 over the whole training.
            rank: number of this process.
            attention: the teacher's saliency; called only where masking needs it.
        """
        raise NotImplementedError

    def _map(self, images: Tensor, attention: SaliencyMap) -> Tensor | None:
        """Saliency of whole images, [B, 1, rows, columns], where ``per_image`` masking needs it."""
        if not self.masking.needs_saliency or self.saliency != "per_image":
            return None
        return attention(crop(images, _whole(len(images)), self.multicrop.global_size)).unsqueeze(1)

    def _kept(
        self,
        views: Tensor,
        rectangles: Tensor,
        whole: Tensor | None,
        attention: SaliencyMap,
        draws: torch.Generator,
    ) -> Tensor | None:
        """Indices that stay, of views [V * B, C, S, S] cut along rectangles [V, B, 4]."""
        side = views.shape[-1] // self.patch
        if self.masking.count(side * side) == 0:
            return None
        if whole is not None:
            maps = torch.cat([crop(whole, r, side) for r in rectangles])
        elif self.masking.needs_saliency:
            maps = attention(views)
        else:
            maps = views.new_empty(len(views), side, side)
        return self.masking.kept(maps.flatten(1), draws)


class PairedViews(ViewMaker):
    """Two augmentations of each image: one for the teacher, one that is cut into the student's views (AAAI 2023).

    The teacher sees one large, unmasked view.

    Args:
        teacher_scale: area of the teacher's square crop as a fraction of the image; (1, 1), the paper's "uncorrupted
            image view", is the whole image.
    """

    def __init__(
        self,
        multicrop: MultiCrop,
        augment: Augment,
        seed: int = 0,
        masking: Masking | None = None,
        patch: int = 16,
        saliency: SaliencySource = "per_image",
        teacher_scale: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        super().__init__(multicrop, augment, seed, masking, patch, saliency)
        self.teacher_scale = check_scale("teacher_scale", teacher_scale)

    def __call__(self, images: Tensor, step: int, rank: int, attention: SaliencyMap) -> StepViews:
        """See :class:`ViewMaker`."""
        draws = generator(self.seed, step, rank)
        square = random_crops(len(images), self.teacher_scale, _SQUARE, draws)
        teacher = crop(self.augment(images, draws), square, self.multicrop.global_size)
        # Augmented whole before it is cropped, mirroring included, so that one saliency map serves all of its views.
        theirs = self.augment(images, draws)
        whole = self._map(theirs, attention)
        large, small = self.multicrop.rectangles(len(images), draws)
        groups = [(large, self.multicrop.global_size, True), (small, self.multicrop.local_size, self.masking.local)]
        student = []
        for rectangles, size, masked in groups:
            if len(rectangles) == 0:
                continue
            views = torch.cat([crop(theirs, r, size) for r in rectangles])
            kept = self._kept(views, rectangles, whole, attention, draws) if masked else None
            student.append(StudentViews(views, kept))
        return StepViews(teacher, student)


class SharedViews(ViewMaker):
    """Global views that both networks see and local ones for the student, each cropped and augmented on its own (DINO).

    Args:
        hide: patches of global views are hidden behind mask tokens in place of being dropped, and local views stay
            whole (iBOT, Zhou et al. 2022).
    """

    unshared = 1

    def __init__(
        self,
        multicrop: MultiCrop,
        augment: Augment,
        seed: int = 0,
        masking: Masking | None = None,
        patch: int = 16,
        saliency: SaliencySource = "per_image",
        hide: bool = False,
    ) -> None:
        super().__init__(multicrop, augment, seed, masking, patch, saliency)
        if multicrop.global_views < 2:
            raise ConfigError(
                "multicrop#global_views 1: the networks share global views, and each is compared with the others: "
                "set it to at least 2"
            )
        if self.masking.needs_saliency and saliency == "per_image" and augment.flip > 0:
            raise ConfigError(
                "saliency 'per_image' cannot follow views that are mirrored one by one: set augment#flip to 0, or "
                "saliency to 'per_view'"
            )
        self.hide = hide

    def __call__(self, images: Tensor, step: int, rank: int, attention: SaliencyMap) -> StepViews:
        """See :class:`ViewMaker`."""
        draws = generator(self.seed, step, rank)
        large, small = self.multicrop.rectangles(len(images), draws)
        sizes = (self.multicrop.global_size, self.multicrop.local_size)
        cut = [[crop(images, r, size) for r in views] for views, size in zip((large, small), sizes, strict=True)]
        augmented = [[self.augment(view, draws) for view in views] for views in cut]
        whole = self._map(images, attention)
        seen = torch.cat(augmented[0])
        kept = self._kept(seen, large, whole, attention, draws)
        if self.hide:
            side = self.multicrop.global_size // self.patch
            hidden = None if kept is None else complement(kept, side * side)
            student = [StudentViews(seen, hidden=hidden)]
        else:
            student = [StudentViews(seen, kept)]
        if augmented[1]:
            views = torch.cat(augmented[1])
            dropped = self.masking.local and not self.hide
            student.append(StudentViews(views, self._kept(views, small, whole, attention, draws) if dropped else None))
        return StepViews(seen, student)


def _whole(count: int) -> Tensor:
    """The rectangle of the whole image, [count, 4]."""
    return torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(count, 4)
