"""Random affine maps and mirror images of a batch, on the batch's device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vitad_med.errors import ConfigError

Padding = Literal["border", "reflection", "zeros"]


@dataclass(frozen=True)
class RandomAffine:
    """Rotation, shift, scale and shear about the image's centre, and mirror images, each drawn per image.

    AnoViT (2022) names "random affine, vertical flip, horizontal flip, etc." and no strengths. What is 0 is not done.

    Attributes:
        rotation: largest angle in degrees, U(-rotation, rotation).
        translation: largest shift as a fraction of each side, U(-translation, translation).
        scale: factor U(1 - scale, 1 + scale).
        shear: largest angle of a horizontal shear in degrees, U(-shear, shear).
        horizontal_flip: probability of mirroring left and right. Off by default: on a chest X-ray it moves the heart to
            the other side.
        vertical_flip: probability of mirroring top and bottom.
        padding: what lies outside of the image: its ``border`` repeated, its ``reflection``, or ``zeros``.
    """

    rotation: float = 0.0
    translation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    padding: Padding = "border"

    def __post_init__(self) -> None:
        limits = {"rotation": 180, "translation": 1, "shear": 60, "horizontal_flip": 1, "vertical_flip": 1}
        for name, high in limits.items():
            if not 0 <= getattr(self, name) <= high:
                raise ConfigError(f"augmentation key '{name}' is {getattr(self, name)}, but must lie in 0..{high}")
        if not 0 <= self.scale < 1:
            raise ConfigError(f"augmentation key 'scale' is {self.scale}, but must be at least 0 and below 1")
        if self.padding not in ("border", "reflection", "zeros"):
            raise ConfigError(
                f"augmentation key 'padding' is '{self.padding}', but must be 'border', 'reflection' or 'zeros'"
            )

    def matrices(self, count: int, generator: torch.Generator) -> Tensor:
        """Random maps of ``count`` square images, float32 [count, 2, 3]: where each pixel of the result is taken from.

        Coordinates are those of grid_sample: -1..1 over the image, x to the right and y down.
        """
        draws = torch.rand(count, 5, generator=generator) * 2 - 1
        angle, shear = (torch.deg2rad(draws[:, k] * limit) for k, limit in ((0, self.rotation), (1, self.shear)))
        factor = 1 / (1 + self.scale * draws[:, 2])
        cos, sin, tan = angle.cos() * factor, angle.sin() * factor, shear.tan()
        rows = (cos, cos * tan - sin, 2 * self.translation * draws[:, 3])
        columns = (sin, sin * tan + cos, 2 * self.translation * draws[:, 4])
        return torch.stack([torch.stack(rows, dim=1), torch.stack(columns, dim=1)], dim=1)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """[B, C, H, W] in 0..1 to the same shape and range; every draw comes from ``generator`` (a CPU generator)."""
        height, width = images.shape[-2:]
        theta = self.matrices(len(images), generator).to(images)
        mirrored = torch.rand(2, len(images), 1, 1, 1, generator=generator).to(images.device)
        if self.rotation or self.translation or self.scale or self.shear:
            # grid_sample counts in half widths and half heights; a rotation must not shear an image that is not square.
            theta[:, 0, 1] *= height / width
            theta[:, 1, 0] *= width / height
            grid = F.affine_grid(theta, list(images.shape), align_corners=False)
            images = F.grid_sample(images, grid, mode="bilinear", padding_mode=self.padding, align_corners=False)
        if self.horizontal_flip:
            images = torch.where(mirrored[0] < self.horizontal_flip, images.flip(-1), images)
        if self.vertical_flip:
            images = torch.where(mirrored[1] < self.vertical_flip, images.flip(-2), images)
        return images
