"""Multi-crop: random resized crops of a batch, images and masks alike (Caron et al. 2020; scales of DINO, 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vitad_med.errors import ConfigError


def random_crops(
    count: int, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Crop rectangles with area U(scale) of the image and log-uniform aspect ratio, anywhere inside it.

    Returns:
        [count, 4] as (centre x, centre y, half width, half height) in grid_sample coordinates, -1..1 over the image.
    """
    uniform = torch.rand(count, 4, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * uniform[:, 0]
    log_low, log_high = torch.log(torch.tensor(ratio)).tolist()
    aspect = torch.exp(log_low + (log_high - log_low) * uniform[:, 1])
    width = (area * aspect).sqrt().clamp(max=1.0)
    height = (area / aspect).sqrt().clamp(max=1.0)
    centre_x = (1 - width) * (2 * uniform[:, 2] - 1)
    centre_y = (1 - height) * (2 * uniform[:, 3] - 1)
    return torch.stack([centre_x, centre_y, width, height], dim=1)


def move_onto(rectangles: Tensor, masks: Tensor, generator: torch.Generator) -> Tensor:
    """Move the centre of each rectangle to a random point of a mask's bounding box, as far as the image allows.

    Args:
        rectangles: [B, 4] from :func:`random_crops`.
        masks: [B, 1, H, W], none of them empty.
        generator: of the points.

    Returns:
        [B, 4], of the same sizes.
    """
    centres = []
    points = torch.rand(len(rectangles), 2, generator=generator)
    for k, (axis, other) in enumerate(((3, 2), (2, 3))):  # x, then y
        hit = (masks > 0).any(dim=other).flatten(1).int()
        side = masks.shape[axis]
        low, high = hit.argmax(dim=1), side - hit.flip(1).argmax(dim=1)
        point = (low + points[:, k] * (high - low)) / side * 2 - 1
        room = 1 - rectangles[:, 2 + k]
        centres.append(torch.minimum(torch.maximum(point, -room), room))
    return torch.cat([torch.stack(centres, dim=1), rectangles[:, 2:]], dim=1)


def crop(images: Tensor, rectangles: Tensor, size: int, mode: str = "bilinear") -> Tensor:
    """Resample one rectangle of each image.

    Args:
        images: [B, C, H, W].
        rectangles: [B, 4] from :func:`random_crops`.
        size: side of the result in pixels.
        mode: ``bilinear`` for images, ``nearest`` for masks.

    Returns:
        [B, C, size, size].
    """
    rectangles = rectangles.to(images.device, images.dtype)
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = rectangles[:, 2], rectangles[:, 0]
    theta[:, 1, 1], theta[:, 1, 2] = rectangles[:, 3], rectangles[:, 1]
    grid = F.affine_grid(theta, [len(images), images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)


def check_scale(key: str, scale: Any, highest: float | None = 1) -> tuple[float, float]:
    """A range of areas or aspect ratios.

    Args:
        key: what messages call it.
        scale: (low, high).
        highest: upper bound, which areas have.

    Raises:
        ConfigError: not two increasing numbers above 0, or above the bound.
    """
    good = isinstance(scale, (list, tuple)) and len(scale) == 2
    good = good and all(isinstance(side, (int, float)) and not isinstance(side, bool) for side in scale)
    if not good or not 0 < scale[0] <= scale[1] or (highest is not None and scale[1] > highest):
        bound = "" if highest is None else f" and at most {highest:g}"
        raise ConfigError(f"{key} is {scale!r}, but must be two numbers, increasing, above 0{bound}, e.g. [0.4, 1.0]")
    return float(scale[0]), float(scale[1])


@dataclass(frozen=True)
class MultiCrop:
    """How many views of which size and scale; scales are fractions of the image's area."""

    global_views: int = 2
    global_size: int = 224
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_views: int = 8
    local_size: int = 96
    local_scale: tuple[float, float] = (0.05, 0.4)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if self.global_views < 1 or self.local_views < 0:
            raise ConfigError("multicrop#global_views must be at least 1 and multicrop#local_views at least 0")
        for name in ("global_scale", "local_scale"):
            check_scale(f"multicrop#{name}", getattr(self, name))
        check_scale("multicrop#ratio", self.ratio, highest=None)

    def rectangles(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rectangles of every view of ``count`` images: [global_views, count, 4] and [local_views, count, 4]."""
        large = random_crops(self.global_views * count, self.global_scale, self.ratio, generator)
        small = random_crops(self.local_views * count, self.local_scale, self.ratio, generator)
        return large.reshape(self.global_views, count, 4), small.reshape(self.local_views, count, 4)
