"""What autoencoders share that are trained on normal images: target, error map, smoothing and image score."""

from __future__ import annotations

import math
from typing import Literal

import torch
from monai.networks.layers.convutils import gaussian_1d
from monai.networks.layers.simplelayers import separable_filtering
from torch import Tensor, nn
from torch.nn import functional as F

from vitad_med.errors import ConfigError
from vitad_med.outputs import AnomalyOutput

Error = Literal["l2", "mean_squared"]


class ReconstructionNetwork(nn.Module):
    """An autoencoder whose anomaly map is the error of its reconstruction (section 3.2, AnoViT 2022).

    A subclass says what is reconstructed (:meth:`target`) and how (:meth:`reconstruct`).

    Args:
        channels: of the images, 1 (grey) or 3 (colour).
        error: of a pixel. ``l2`` is Eq. 6: the l2 distance over its C channels, averaged over them, which is taken as
            divided by sqrt(C), so that it lies in 0..1; ``mean_squared`` is the square of that.
        smoothing: standard deviation of the Gaussian that smooths the map, in pixels of the images; 0 for none. The
            paper smooths and does not say how much: 4 is PaDiM's.
    """

    kernel: Tensor | None

    def __init__(self, channels: int = 1, error: Error = "l2", smoothing: float = 4.0) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ConfigError(f"channels {channels} must be 1 (grey) or 3 (colour)")
        if error not in ("l2", "mean_squared"):
            raise ConfigError(f"error '{error}' is unknown: use 'l2' or 'mean_squared'")
        if not (smoothing >= 0 and math.isfinite(smoothing)):
            raise ConfigError(f"smoothing {smoothing} must be 0 or a standard deviation in pixels")
        self.channels = channels
        self.error = error
        # No part of the state: a trained model can be read with any smoothing.
        kernel = gaussian_1d(torch.tensor(float(smoothing)), normalize=True) if smoothing else None
        self.register_buffer("kernel", kernel, persistent=False)

    def target(self, images: Tensor) -> Tensor:
        """What :meth:`reconstruct` is compared with, [B, channels, h, w], of images [B, C, H, W] in 0..1."""
        return self.with_channels(images)

    def reconstruct(self, images: Tensor) -> Tensor:
        """The reconstruction of images [B, C, H, W] in 0..1, of the size of :meth:`target`; not confined to 0..1."""
        raise NotImplementedError

    def with_channels(self, images: Tensor) -> Tensor:
        """Images with the network's number of channels; grey is repeated.

        Raises:
            ConfigError: colour images for a grey network, or neither grey nor colour.
        """
        found = images.shape[1]
        if found not in (1, self.channels):
            raise ConfigError(
                f"images have {found} channels and the network {self.channels}: set channels as they have"
            )
        return images.expand(-1, self.channels, -1, -1)

    def error_map(self, images: Tensor) -> Tensor:
        """Error of each pixel before smoothing, [B, 1, h, w] in 0..1; errors above the whole range count as that."""
        difference = self.reconstruct(images).float() - self.target(images).float()
        squared = difference.square().mean(dim=1, keepdim=True).clamp(max=1)
        return squared if self.error == "mean_squared" else squared.sqrt()

    def predict(self, images: Tensor) -> AnomalyOutput:
        """Score [B] and map [B, 1, H, W], both in 0..1, of images [B, C, H, W] in 0..1.

        The map is the error, resized bilinearly to the images where the network sees another size, then smoothed; the
        edge is repeated outside, so that errors there count as much as elsewhere. The score is its maximum (Eq. 7).
        """
        size = (images.shape[-2], images.shape[-1])
        errors = self.error_map(images)
        if errors.shape[-2:] != size:
            errors = F.interpolate(errors, size=size, mode="bilinear", align_corners=False)
        if self.kernel is not None:
            errors = separable_filtering(errors, [self.kernel, self.kernel], mode="replicate").clamp(0, 1)
        return AnomalyOutput(errors.amax(dim=(1, 2, 3)), errors)

    def forward(self, images: Tensor) -> Tensor:
        """Map [B, 1, H, W] in 0..1 of images [B, C, H, W] in 0..1; :meth:`predict` gives the score too."""
        return self.predict(images).map


def initialise(layer: nn.Conv2d | nn.ConvTranspose2d, fan_in: float, slope: float = 0.0, gain: float = 1.0) -> None:
    """He initialisation for a layer that a (leaky) ReLU follows, biases 0.

    torch's own takes the fan of a transposed convolution from the wrong side and leaves out its stride, so that signals
    fade from block to block.

    Args:
        layer: a convolution.
        fan_in: values that add up to one output value.
        slope: of the leaky ReLU.
        gain: factor of the standard deviation.
    """
    nn.init.normal_(layer.weight, std=gain * math.sqrt(2 / ((1 + slope**2) * fan_in)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
