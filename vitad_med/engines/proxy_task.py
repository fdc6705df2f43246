"""What turns a batch of normal images into the crops of one proxy-task step, on the training device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.multicrop import MultiCrop, crop, move_onto
from vitad_med.data.image_io import resize
from vitad_med.engines.precision import Precision
from vitad_med.errors import ConfigError
from vitad_med.networks.vit import normalize, saliency
from vitad_med.networks.weights import build_encoder
from vitad_med.objectives.proxy import Views
from vitad_med.reproducibility import derive_seed, generator
from vitad_med.synthesis import SyntheticBatch, SyntheticScheme, summarize_info

CropLabel = Literal["image", "mask"]
# What a synthetic scheme says of its draws that training logs: whether attention guides the places, and how often a
# patch had to be moved to fit, was drawn again, or still changed too little.
MONITORED = ("entropy", "moved", "redraws", "below_minimum")


class Scorer(nn.Module):
    """The fixed pre-trained ViT whose attention says where an image is salient (the paper's "ViT Scorer").

    Args:
        architecture, weights, image_size: as for the network that is trained; see :mod:`vitad_med.networks.weights`.
        amp: 16-bit arithmetic where the device has it: training is faster and needs no exact map.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str = "vit_tiny_patch16_224",
        weights: str = "embedded",
        image_size: int = 224,
        amp: bool = False,
    ) -> None:
        super().__init__()
        self.encoder: VisionTransformer
        self.encoder, (mean, std) = build_encoder(architecture, weights, image_size)
        self.image_size = image_size
        self.amp = amp
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """[B, C, S, S] in 0..1 to mean CLS attention [B, rows, columns]."""
        sized = resize(images, self.image_size)
        with Precision.of(images.device, self.amp).autocast():
            return saliency(self.encoder, normalize(sized, self.mean, self.std)).float()


class ProxyTask:
    """Augment, synthesise, crop: each normal image gives itself and one synthetic anomaly.

    Augmentation comes first, so that saliency belongs to the image that is changed. Every draw follows from
    (seed, step, process).

    Args:
        scorer: saliency network; not run when the scheme needs no saliency.
        synthesis: how anomalies are made.
        multicrop: sizes, scales and numbers of crops.
        augment: intensity augmentation of the whole image.
        seed: of all draws.
        crop_label: ``image`` labels every crop of a synthetic anomaly abnormal, as the paper does; ``mask`` only crops
            in which the anomaly covers at least ``min_area``.
        min_area: fraction of a crop's pixels, for ``mask``.
        crop_focus: fraction of the local crops whose centre is put into the anomaly, the normal image being cropped at
            the same place (ours). 0, the paper's, leaves them anywhere: then 39 % of local crops at DINO's scales miss
            the anomaly.

    Attributes:
        monitors: means over the latest batch of what the scheme says of its draws (``MONITORED``).
    """

    def __init__(
        self,
        scorer: Scorer,
        synthesis: SyntheticScheme,
        multicrop: MultiCrop,
        augment: Augment,
        seed: int = 0,
        crop_label: CropLabel = "image",
        min_area: float = 0.005,
        crop_focus: float = 0.0,
    ) -> None:
        if crop_label not in ("image", "mask"):
            raise ConfigError(f"crop_label '{crop_label}' is unknown: use 'image' or 'mask'")
        if not 0 <= crop_focus <= 1:
            raise ConfigError(f"crop_focus {crop_focus} must lie in 0..1")
        self.crop_focus = crop_focus
        self.scorer = scorer
        self.synthesis = synthesis
        self.multicrop = multicrop
        self.augment = augment
        self.seed = seed
        self.monitors: dict[str, float] = {}
        self.crop_label = crop_label
        self.min_area = min_area

    def anomalies(self, images: Tensor, seed: int, names: Sequence[str] | None = None) -> SyntheticBatch:
        """Synthetic copies of images [B, C, S, S] in 0..1."""
        attention = self.scorer(images) if self.synthesis.needs_saliency else None
        return self.synthesis.batch(images, attention, seed, names=names)

    def __call__(self, images: Tensor, step: int, rank: int = 0, names: Sequence[str] | None = None) -> list[Views]:
        """Global and local crops of images [B, C, S, S] in 0..1 and of their synthetic copies.

        Raises:
            DataError: an image, called by its name where ``names`` are given, from which no anomaly can be made.
        """
        draws = generator(self.seed, step, rank)
        images = self.augment(images, draws)
        synthetic = self.anomalies(images, derive_seed(self.seed, step, rank, 1), names)
        info = summarize_info(synthetic.info)
        self.monitors = {f"synthesis_{key}": info[key] for key in MONITORED if key in info}
        both = torch.cat([images, synthetic.images.to(images.dtype)])
        masks = torch.cat([torch.zeros_like(synthetic.masks), synthetic.masks]).to(images.dtype)
        labels = torch.cat([images.new_zeros(len(images)), images.new_ones(len(images))]).long()
        large, small = self.multicrop.rectangles(len(both), draws)
        if self.crop_focus and len(small):
            small = self._focused(small, synthetic.masks, draws)
        step_views = []
        for rectangles, size, is_global in (
            (large, self.multicrop.global_size, True),
            (small, self.multicrop.local_size, False),
        ):
            if len(rectangles) == 0:
                continue
            cropped = torch.cat([crop(both, r, size) for r in rectangles])
            cropped_masks = torch.cat([crop(masks, r, size, mode="nearest") for r in rectangles])
            crop_labels = labels.repeat(len(rectangles))
            if self.crop_label == "mask":
                shown = cropped_masks.flatten(1).mean(dim=1) >= self.min_area
                crop_labels = crop_labels * shown.long()
            step_views.append(Views(cropped, crop_labels, cropped_masks, is_global))
        return step_views

    def _focused(self, rectangles: Tensor, masks: Tensor, draws: torch.Generator) -> Tensor:
        """Move crops [V, 2 B, 4] of B normal images and their copies onto the anomalies, pairs to the same place."""
        normal, abnormal = rectangles.chunk(2, dim=1)
        chosen = torch.rand(*abnormal.shape[:2], 1, generator=draws) < self.crop_focus
        moved = torch.stack([move_onto(view, masks.cpu(), draws) for view in abnormal])
        return torch.cat([torch.where(chosen, moved, normal), torch.where(chosen, moved, abnormal)], dim=1)


def in_parts(views: Views, size: int) -> list[Views]:
    """Split crops into parts of at most ``size``, for forward passes that fit the memory."""
    starts = range(0, len(views.images), size)
    return [
        Views(views.images[i : i + size], views.labels[i : i + size], views.masks[i : i + size], views.is_global)
        for i in starts
    ]
