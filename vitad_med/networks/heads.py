"""The multi-layer perceptron on the CLS token, shared by pre-training and the proxy task."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class MLPHead(nn.Module):
    """Three linear layers with GELU and one output layer (the shape of DINO's head, Caron et al. 2021).

    Both stages use it and differ only in the last layer: prototypes on an l2-normalised bottleneck for distillation,
    two logits on the plain bottleneck for the proxy task.

    Args:
        in_features: width D of the CLS token.
        out_features: number of prototypes, or 2.
        hidden: width of both hidden layers.
        bottleneck: width before the last layer.
        prototypes: l2-normalise the bottleneck and keep the last layer's rows at unit norm.
        batch_norm: normalise hidden layers (an option of DINO's head) and the bottleneck over the batch. Chest X-rays
            look so much alike that without it mean-centred distillation reached the uniform target within ten epochs;
            alone it does not prevent that.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: int = 2048,
        bottleneck: int = 256,
        prototypes: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.prototypes = prototypes
        layers: list[nn.Module] = []
        for width in (in_features, hidden):
            layers += [nn.Linear(width, hidden), *([nn.BatchNorm1d(hidden)] if batch_norm else []), nn.GELU()]
        layers.append(nn.Linear(hidden, bottleneck))
        if batch_norm:
            layers.append(nn.BatchNorm1d(bottleneck, affine=False))
        self.trunk = nn.Sequential(*layers)
        for layer in self.trunk:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        last = nn.Linear(bottleneck, out_features, bias=not prototypes)
        if prototypes:
            # The weight is v / |v|: every prototype has unit norm in every forward pass, whatever a step did to v.
            last = weight_norm(last)
            last.parametrizations.weight.original0.data.fill_(1.0)
            last.parametrizations.weight.original0.requires_grad_(False)
        self.last = last

    def forward(self, cls: Tensor) -> Tensor:
        """[B, D] to [B, out_features]."""
        features = self.trunk(cls)
        if self.prototypes:
            # Normalised in float32: eps below would vanish in half precision.
            features = nn.functional.normalize(features.float(), dim=-1, eps=1e-6)
        return self.last(features)

    @torch.no_grad()
    def normalize_prototypes(self) -> None:
        """Put the stored prototypes back to unit length, as AAAI 2023 does after each gradient step.

        The forward pass does not change: it divides by the length anyway. But the length grows with every step along
        the sphere, and the longer a stored prototype is, the less the next step turns it.
        """
        if self.prototypes:
            direction = dict(self.last.named_parameters())["parametrizations.weight.original1"]
            direction.div_(direction.norm(dim=1, keepdim=True))
