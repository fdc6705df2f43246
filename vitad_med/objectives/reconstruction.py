"""The loss of an autoencoder: how far its reconstruction is from the image (Eq. 1, AnoViT 2022)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from vitad_med.errors import ConfigError

Reduction = Literal["mean", "sum"]


class ReconstructionLoss(nn.Module):
    """Squared l2 norm of the difference, averaged over the m images of a batch (Eq. 1).

    Args:
        reduction: over the C H W values of an image. ``sum`` is the squared norm as printed. ``mean`` divides it by
            C H W, which moves no minimum: losses of images of different sizes can be compared, and a learning rate
            keeps its meaning with optimizers that follow the gradient's length.
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum"):
            raise ConfigError(f"reduction '{reduction}' is unknown: use 'mean' or 'sum'")
        self.reduction = reduction

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Loss, a scalar, of reconstructions and images [B, C, H, W] in 0..1."""
        squared = (reconstruction.float() - target.float()).square().flatten(1)
        return (squared.sum(dim=1) if self.reduction == "sum" else squared.mean(dim=1)).mean()
