"""Checks of the images and saliency maps that synthesis is given."""

from __future__ import annotations

import numpy as np
import torch

from vitad_med.errors import DataError
from vitad_med.synthesis.patch import MIN_IMAGE_SIDE


def check_image(image: np.ndarray) -> None:
    """Refuse what is not a floating point [C, H, W] image that a patch fits into."""
    if image.ndim != 3 or not np.issubdtype(image.dtype, np.floating):
        raise DataError(f"an image is floating point [C, H, W]; this one is {image.dtype} {image.shape}")
    _check_size(*image.shape[1:])


def check_images(images: torch.Tensor, saliency: torch.Tensor | None) -> None:
    """Refuse what is not a floating point [B, C, H, W] batch, B above 0, with as many saliency maps."""
    if images.ndim != 4 or len(images) == 0 or not images.is_floating_point():
        raise DataError(f"images are floating point [B, C, H, W]; these are {images.dtype} {tuple(images.shape)}")
    _check_size(*images.shape[2:])
    if saliency is not None and (saliency.ndim != 3 or len(saliency) != len(images)):
        raise DataError(f"{len(images)} images need saliency maps [{len(images)}, h, w]; got {tuple(saliency.shape)}")


def _check_size(height: int, width: int) -> None:
    if min(height, width) < MIN_IMAGE_SIDE:
        raise DataError(f"an image of {height} x {width} px is too small: {MIN_IMAGE_SIDE} px a side is the least")


def check_contrast(low: float, high: float, what: str) -> None:
    """Refuse an image, described by ``what``, whose lowest and highest values say that no patch can change it."""
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{what} holds NaN or infinity: look at its file and at the augmentation before synthesis")
    if low == high:
        raise DataError(f"{what} is constant ({low:g} everywhere), so no patch can change it: leave this file out")


def to_host(images: torch.Tensor, saliency: torch.Tensor | None) -> tuple[list[list[float]], np.ndarray | None]:
    """Lowest and highest value of each image [B, 2] and the saliency maps float64 [B, h, w], in one transfer."""
    flat = images.flatten(1)
    limits = torch.stack([flat.amin(dim=1), flat.amax(dim=1)], dim=1).to(torch.float64)
    if saliency is None:
        return limits.tolist(), None
    both = torch.cat([limits, saliency.detach().flatten(1).to(limits)], dim=1).cpu().numpy()
    return both[:, :2].tolist(), both[:, 2:].reshape(saliency.shape)
