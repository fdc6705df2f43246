"""One interface to frozen feature extractors: images in, one feature vector for each cell of a grid out.

A *backbone* (:mod:`vitad_med.networks.backbones`) turns normalised images into feature maps of one or more stages. The
extractor around it normalises, brings the stages to one grid, stacks their channels and keeps a seeded choice of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitad_med.digests import state_digest
from vitad_med.errors import ConfigError
from vitad_med.networks.vit import normalize
from vitad_med.networks.weights import Statistics
from vitad_med.reproducibility import generator

Resize = Literal["nearest", "bilinear"]


class Backbone(Protocol):
    """What :class:`FeatureExtractor` needs of an ``nn.Module`` that makes feature maps.

    Attributes:
        widths: channels of each stage.
        statistics: (mean, std) per channel of 0..1 intensities that its weights expect.
        settings: what decides its features beside its tensors, plain values by key.
    """

    widths: tuple[int, ...]
    statistics: Statistics
    settings: dict[str, Any]

    def check_image_size(self, image_size: int) -> None:
        """Raise ConfigError for sizes that it cannot take."""

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        """Feature maps [B, widths[i], h_i, w_i] of normalised images [B, 3, S, S]."""


class FeatureExtractor(nn.Module):
    """Frozen features of images on one grid; always in evaluation mode, without gradients.

    Args:
        backbone: an ``nn.Module`` that is a :class:`Backbone`.
        grid: side in cells of the grid; None is that of the finest stage. Finer stages are averaged over the cells that
            fall into one.
        resize: how coarser stages come to it; ``nearest`` repeats each cell, as PaDiM and VISAPP 2023 do.
        channels_kept: how many channels are kept, drawn once from ``seed`` (PaDiM); None keeps all.
        seed: of that draw.
        remove_image_mean: subtract from each image's features their mean over the grid, which leaves what differs
            inside the image.

    Raises:
        ConfigError: a grid below 1, an unknown ``resize``, or more channels kept than there are.
    """

    mean: Tensor
    std: Tensor
    kept: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        grid: int | None = None,
        resize: Resize = "nearest",
        channels_kept: int | None = None,
        seed: int = 0,
        remove_image_mean: bool = False,
    ) -> None:
        super().__init__()
        if resize not in get_args(Resize):
            raise ConfigError(f"resize '{resize}' is unknown: use 'nearest' or 'bilinear'")
        if grid is not None and grid < 1:
            raise ConfigError(f"grid is {grid}: give a number of cells of at least 1, or leave the finest stage's")
        self.backbone = backbone
        self.grid, self.resize, self.remove_image_mean = grid, resize, remove_image_mean
        made = self._made
        total = sum(made.widths)
        if channels_kept is not None and not 1 <= channels_kept <= total:
            raise ConfigError(
                f"channels_kept is {channels_kept}, but the features have {total} channels: use 1 to {total}, or keep "
                "all"
            )
        chosen = torch.arange(total)
        if channels_kept is not None:
            chosen = torch.randperm(total, generator=generator(seed))[:channels_kept].sort().values
        # Part of the state: features of another draw would be others under the same names.
        self.register_buffer("kept", chosen)
        first = 0
        for number, width in enumerate(made.widths):  # once, so that an exported graph has no branch on values
            own = chosen[(chosen >= first) & (chosen < first + width)] - first
            self.register_buffer(f"kept_{number}", own, persistent=False)
            first += width
        mean, std = made.statistics
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        self.settings: dict[str, Any] = {
            **made.settings,
            "grid": grid,
            "resize": resize,
            "channels_kept": channels_kept,
            "channel_seed": None if channels_kept is None else seed,
            "remove_image_mean": remove_image_mean,
        }
        self.requires_grad_(False)
        self.eval()

    @property
    def _made(self) -> Backbone:
        return cast(Backbone, self.backbone)

    @property
    def channels(self) -> int:
        """D, the channels of the features."""
        return len(self.kept)

    def digest(self) -> str:
        """SHA-256 of the tensors: the backbone's weights, its input statistics and the channels kept."""
        return state_digest(self.state_dict())

    @torch.no_grad()
    def grid_of(self, image_size: int) -> tuple[int, int]:
        """Rows and columns of the features of square images of this size.

        Raises:
            ConfigError: the backbone cannot take the size.
        """
        blank = torch.zeros(1, 3, image_size, image_size, device=self.mean.device)
        rows, columns = self(blank).shape[-2:]
        return int(rows), int(columns)

    def train(self, mode: bool = True) -> FeatureExtractor:
        """Stays in evaluation mode: the features that were fitted are those that are scored."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, D, h, w] of images [B, 1 or 3, S, S] in 0..1.

        Raises:
            ConfigError: channels or size that the backbone cannot take.
        """
        if images.shape[1] not in (1, 3):
            raise ConfigError(f"images have {images.shape[1]} channels: the network takes 1 (grey) or 3 (colour)")
        if not torch.jit.is_tracing() and not torch.compiler.is_compiling():
            for side in images.shape[-2:]:
                self._made.check_image_size(int(side))
        stages = self._made(normalize(images, self.mean, self.std))
        size = (self.grid, self.grid) if self.grid else max((stage.shape[-2], stage.shape[-1]) for stage in stages)
        parts = []
        for number, stage in enumerate(stages):
            own: Tensor = getattr(self, f"kept_{number}")
            if len(own):  # channels that are dropped need not be resized
                parts.append(self._on_grid(stage if len(own) == stage.shape[1] else stage[:, own], size))
        features = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        return features - features.mean(dim=(2, 3), keepdim=True) if self.remove_image_mean else features

    def _on_grid(self, stage: Tensor, size: tuple[int, int]) -> Tensor:
        own = (stage.shape[-2], stage.shape[-1])
        if own == size:
            return stage
        if own[0] >= size[0] and own[1] >= size[1]:
            return functional.adaptive_avg_pool2d(stage, size)
        if self.resize == "nearest":
            return functional.interpolate(stage, size=size, mode="nearest-exact")
        return functional.interpolate(stage, size=size, mode="bilinear", align_corners=False)
