"""The convolutional autoencoder that AnoViT is compared with (l2-CAE: Bergmann et al., VISAPP 2019, Table 1)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from vitad_med.data.image_io import resize
from vitad_med.errors import ConfigError
from vitad_med.networks.reconstruction import Error, ReconstructionNetwork, initialise

PUBLISHED_SIZE: Literal[128] = 128
LATENT = 100
SLOPE = 0.2
REDUCTION = 16
# Channels, kernel and stride of the convolutions before the one that makes the latent vector.
_LAYERS = ((32, 4, 2), (32, 4, 2), (32, 3, 1), (64, 4, 2), (64, 3, 1), (128, 4, 2), (64, 3, 1), (32, 3, 1))

CAEInput = Literal[128, "same"]


class ConvAutoencoder(ReconstructionNetwork):
    """l2-CAE: nine convolutions to a latent vector of 100 numbers, and their mirror image; leaky ReLU of slope .2.

    Convolutions 4x4 stride 2 to 32 channels, 4x4/2 to 32, 3x3 to 32, 4x4/2 to 64, 3x3 to 64, 4x4/2 to 128, 3x3 to 64,
    3x3 to 32, then one that covers the whole map: 8x8 at the published size of 128 pixels. Latent vector and output are
    linear.

    Args:
        image_size: side of the images in pixels, where ``cae_input`` is ``same``.
        channels, error, smoothing: see :class:`~vitad_med.networks.reconstruction.ReconstructionNetwork`.
        cae_input: 128, as published: images are resized to it, and the map back to the images' size. ``same`` takes
            images of ``image_size``; the last convolution grows with them, so that the latent vector keeps its 100
            numbers.

    Raises:
        ConfigError: names the key.
    """

    def __init__(
        self,
        image_size: int = 224,
        channels: int = 1,
        cae_input: CAEInput = 128,
        error: Error = "l2",
        smoothing: float = 4.0,
    ) -> None:
        super().__init__(channels, error, smoothing)
        if cae_input not in (PUBLISHED_SIZE, "same"):
            raise ConfigError(f"cae_input {cae_input!r} is unknown: use {PUBLISHED_SIZE} or 'same'")
        self.size = image_size if cae_input == "same" else PUBLISHED_SIZE
        if self.size % REDUCTION:
            nearest = max(REDUCTION, round(self.size / REDUCTION) * REDUCTION)
            raise ConfigError(
                f"image_size {image_size} is no multiple of {REDUCTION} as cae_input 'same' needs: {nearest}"
            )
        side = self.size // REDUCTION
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        before = channels
        for width, kernel, stride in _LAYERS:
            inward = nn.Conv2d(before, width, kernel, stride, padding=1)
            outward = nn.ConvTranspose2d(width, before, kernel, stride, padding=1)
            initialise(inward, before * kernel**2, SLOPE)
            # The image itself is linear: no leaky ReLU follows.
            initialise(outward, width * kernel**2 / stride**2, SLOPE if up else 1.0)
            down += [inward, nn.LeakyReLU(SLOPE)]
            up = [outward, *([nn.LeakyReLU(SLOPE)] if up else []), *up]
            before = width
        latent, spread = nn.Conv2d(before, LATENT, side), nn.ConvTranspose2d(LATENT, before, side)
        initialise(latent, before * side**2, 1.0)
        initialise(spread, LATENT, SLOPE)
        output = up[-1]
        assert isinstance(output, nn.ConvTranspose2d)
        assert output.bias is not None
        nn.init.constant_(output.bias, 0.5)  # a grey image to begin with: intensities lie in 0..1
        self.encoder = nn.Sequential(*down, latent)
        self.decoder = nn.Sequential(spread, nn.LeakyReLU(SLOPE), *up)

    def target(self, images: Tensor) -> Tensor:
        """The images at the size that the network sees, [B, channels, size, size], antialiased."""
        return resize(self.with_channels(images), self.size)

    def encode(self, images: Tensor) -> Tensor:
        """The latent vector [B, 100] of images [B, C, H, W] in 0..1."""
        return self.encoder(self.target(images)).flatten(1)

    def reconstruct(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in 0..1 to [B, channels, size, size]; not confined to 0..1."""
        return self.decoder(self.encode(images)[:, :, None, None])
