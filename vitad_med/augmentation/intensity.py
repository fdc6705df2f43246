"""Random intensity and mirror augmentation of a batch of radiographs or photographs, on the batch's device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vitad_med.errors import ConfigError


@dataclass(frozen=True)
class Augment:
    """Per-image brightness, contrast, gamma, blur and horizontal mirroring.

    The strengths are this project's; the papers name none for X-rays. Hue, saturation and solarisation make no sense on
    radiographs, and mirroring moves the heart to the other side, so ``flip`` is off by default.

    Attributes:
        brightness: offset U(-brightness, brightness) on 0..1 intensities.
        contrast: factor U(1 - contrast, 1 + contrast) about the image's mean.
        gamma: exponent exp(U(-gamma, gamma)).
        blur: largest standard deviation of a Gaussian blur in pixels; half the images are blurred.
        flip: probability of a horizontal mirror image.
    """

    brightness: float = 0.1
    contrast: float = 0.2
    gamma: float = 0.2
    blur: float = 0.0
    flip: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "gamma", "blur", "flip"):
            if getattr(self, name) < 0:
                raise ConfigError(f"augmentation key '{name}' must not be negative")
        if self.flip > 1:
            raise ConfigError("augmentation key 'flip' is a probability: at most 1")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """[B, C, H, W] in 0..1 to the same shape and range; every draw comes from ``generator`` (a CPU generator)."""
        draws = (torch.rand(5, len(images), 1, 1, 1, generator=generator) * 2 - 1).to(images.device)
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        out = (images - mean) * (1 + self.contrast * draws[0]) + mean + self.brightness * draws[1]
        out = out.clamp(0, 1)
        if self.gamma:
            out = out.pow(torch.exp(self.gamma * draws[2]))
        if self.blur:
            out = torch.where(draws[3] > 0, gaussian_blur(out, self.blur * draws[3].clamp(min=0.05).flatten()), out)
        if self.flip:
            out = torch.where((draws[4] + 1) / 2 < self.flip, out.flip(-1), out)
        # An image that fills little of the stored range (12 bits in 16) may be clipped flat: it stays as it is.
        spread = out.amax(dim=(1, 2, 3), keepdim=True) - out.amin(dim=(1, 2, 3), keepdim=True)
        before = images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True)
        return torch.where(spread < 0.25 * before, images, out)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Separable Gaussian blur, one standard deviation in pixels per image: [B, C, H, W] and [B]."""
    batch, channels, height, width = images.shape
    radius = max(1, int(3 * float(sigma.max()) + 0.5))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma.to(images)[:, None] ** 2))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    flat = F.pad(images.reshape(1, batch * channels, height, width), (radius,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=batch * channels)
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=batch * channels)
    return flat.reshape(images.shape)
