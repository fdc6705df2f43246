"""AnoViT (Lee and Kang, 2022): a vision transformer's patch tokens, decoded to the image by transposed convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from vitad_med.errors import ConfigError
from vitad_med.networks.reconstruction import Error, ReconstructionNetwork, initialise
from vitad_med.networks.vit import check_image_size, normalize, patch_size
from vitad_med.networks.weights import build_encoder

WIDTHS = (512, 256, 128, 64, 32)
STRIDES = (2, 2, 2, 1, 1, 1)
# Kernel and padding of a transposed convolution that enlarges by its stride exactly. 4 is a multiple of 2, so that all
# output pixels are sums of equally many terms and no checkerboard appears.
_KERNELS = {1: (3, 1), 2: (4, 1)}


class Decoder(nn.Module):
    """Blocks of a transposed convolution and a ReLU, then bilinear upsampling (section 4.3).

    Widths and strides are unpublished.

    Args:
        width: D of the patch tokens.
        channels: of the image.
        widths: channels after each block but the last.
        strides: of each block, 1 or 2; one more than ``widths``.
        final_relu: the last block has its ReLU, as in the paper: outputs are non-negative. False leaves it out.
    """

    def __init__(
        self,
        width: int,
        channels: int,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
        final_relu: bool = True,
    ) -> None:
        super().__init__()
        if not widths or any(isinstance(w, bool) or not isinstance(w, int) or w < 1 for w in widths):
            raise ConfigError(f"widths {list(widths)} must be whole numbers of at least 1")
        if len(strides) != len(widths) + 1 or any(stride not in _KERNELS for stride in strides):
            raise ConfigError(
                f"strides {list(strides)} must be 1 or 2: one for each of the {len(widths)} widths, one for the image"
            )
        sizes = [width, *widths, channels]
        layers: list[nn.ConvTranspose2d] = []
        for before, after, stride in zip(sizes, sizes[1:], strides, strict=False):
            kernel, padding = _KERNELS[stride]
            layers.append(nn.ConvTranspose2d(before, after, kernel, stride, padding))
            initialise(layers[-1], _fan_in(layers[-1]))
        self.hidden = nn.Sequential(*(part for layer in layers[:-1] for part in (layer, nn.ReLU())))
        self.last = layers[-1]
        self.final_relu = final_relu
        # Begins as a nearly grey image: a pixel that begins below 0 would have no gradient behind the last ReLU.
        initialise(self.last, _fan_in(self.last), gain=0.1)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, 0.5)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, D, rows, columns] to [B, channels, *size], float32."""
        hidden = self.hidden(features)
        # An image in 16 bits would have steps of up to 1/256.
        with torch.autocast(hidden.device.type, enabled=False):
            image = self.last(hidden.float())
        if self.final_relu:
            image = F.relu(image)
        if image.shape[-2:] != size:
            image = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
        return image


def _fan_in(layer: nn.ConvTranspose2d) -> float:
    return layer.in_channels * (layer.kernel_size[0] / layer.stride[0]) ** 2


class AnoViT(ReconstructionNetwork):
    """ViT encoder, trained on, and a decoder of its patch tokens (section 3.1).

    The tokens are those after the last block and the encoder's final norm, without CLS and registers, put back to their
    places. The target is the image in 0..1, which outputs behind a ReLU can reach; the normalisation that the encoder's
    weights expect is part of the network.

    Args:
        architecture: timm ViT.
        weights: ``embedded``, ``none`` (random), a file, or a timm name (:mod:`vitad_med.networks.weights`).
        image_size: pixels; the position-embedding grid. Other multiples of the patch size work too.
        channels: see :class:`~vitad_med.networks.reconstruction.ReconstructionNetwork`, as ``error`` and ``smoothing``.
        widths, strides, final_relu: see :class:`Decoder`. The decoder's blocks may enlarge by the patch size at most;
            what is left to the size of the input is bilinear.

    Raises:
        ConfigError: names the key.
        WeightsError: weights that cannot be found or belong to another architecture.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str = "vit_tiny_patch16_224",
        weights: str = "embedded",
        image_size: int = 224,
        channels: int = 1,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
        final_relu: bool = True,
        error: Error = "l2",
        smoothing: float = 4.0,
    ) -> None:
        super().__init__(channels, error, smoothing)
        self.encoder: VisionTransformer
        self.encoder, (mean, std) = build_encoder(architecture, weights, image_size)
        self.decoder = Decoder(self.encoder.embed_dim, channels, widths, strides, final_relu)
        enlarged, patch = math.prod(strides), patch_size(self.encoder)
        if enlarged > patch:
            raise ConfigError(
                f"strides {list(strides)} enlarge {enlarged} times, more than the patch size {patch} of {architecture}"
            )
        # Part of the state: a checkpoint must not depend on which weights training started from.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def patch_features(self, images: Tensor) -> Tensor:
        """Patch tokens at their places, [B, D, rows, columns], of images [B, 1 or 3, H, W] in 0..1."""
        patch = patch_size(self.encoder)
        if not torch.jit.is_tracing() and not torch.compiler.is_compiling():
            for side in images.shape[-2:]:
                check_image_size(self.encoder, int(side))
        tokens = self.encoder.forward_features(normalize(images, self.mean, self.std))
        patches = tokens[:, self.encoder.num_prefix_tokens :].transpose(1, 2)
        return patches.unflatten(2, (images.shape[-2] // patch, images.shape[-1] // patch))

    def reconstruct(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in 0..1 to [B, channels, H, W], float32; non-negative with ``final_relu``.

        Raises:
            ConfigError: sizes that patches do not tile, or a wrong number of channels.
        """
        size = (images.shape[-2], images.shape[-1])
        return self.decoder(self.patch_features(self.with_channels(images)), size)
