"""Fine detail for a vision transformer: small convolutions whose output is added to the patch embedding."""

from __future__ import annotations

from torch import Tensor, nn

from vitad_med.errors import ConfigError


class DetailStem(nn.Module):
    """3 x 3 convolutions from the image down to the patch grid, beside the patch embedding (ours).

    What gives a Poisson-blended patch away is a kink of the gradient along its border, which is no linear function of
    pixels; a patch embedding is one linear map of them. Convolutions learn that kink in minutes where a small ViT
    trained on a thousand images does not in an hour (``bundles/attn_synth/docs/README.md`` has the figures). "Early
    Convolutions Help Transformers See Better" (Xiao et al., NeurIPS 2021) replaces the patch embedding for such
    reasons. Here the convolutions are added to it, and their last layer starts at zero, so that training starts from
    the function of the pre-trained encoder.

    Instances are normalised rather than batches: what is said of an image does not depend on the rest of its batch.

    Args:
        width: channels of the first stage; they double with every stride.
        embed_dim: width D of the tokens.
        patch_size: side of a patch in pixels: 4, 8, 16 or 32.

    Raises:
        ConfigError: a width below 1 or another patch size.
    """

    def __init__(self, width: int, embed_dim: int, patch_size: int) -> None:
        super().__init__()
        if patch_size not in (4, 8, 16, 32):
            raise ConfigError(
                f"detail_width needs patches of 4, 8, 16 or 32 pixels, not {patch_size}: set detail_width to 0 for "
                "this architecture"
            )
        if width < 1:
            raise ConfigError(f"detail_width {width} must be at least 1, or 0 for none")
        layers: list[nn.Module] = []
        channels = 3
        for stage in range(patch_size.bit_length() - 1):
            wider = width * 2**stage
            layers += _convolution(channels, wider, stride=2) + _convolution(wider, wider, stride=1)
            channels = wider
        self.convolutions = nn.Sequential(*layers)
        self.project = nn.Conv2d(channels, embed_dim, 1)
        nn.init.zeros_(self.project.weight)
        assert self.project.bias is not None
        nn.init.zeros_(self.project.bias)
        self.evidence = nn.Conv2d(channels, 1, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What to add to the patch embedding, and what the convolutions alone make of each patch.

        Args:
            images: normalised, [B, 3, H, W].

        Returns:
            [B, H / patch, W / patch, D], zero before training; and logits [B, 1, H / patch, W / patch] for the
            auxiliary loss, which is how the convolutions learn fast.
        """
        features = self.convolutions(images)
        return self.project(features).permute(0, 2, 3, 1), self.evidence(features)


class _InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation that leaves a single position as it is, where there is nothing to normalise over."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.shape[-2:].numel() == 1 else super().forward(x)


def _convolution(channels: int, wider: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, wider, 3, stride, 1, bias=False), _InstanceNorm(wider, affine=True), nn.GELU()]
