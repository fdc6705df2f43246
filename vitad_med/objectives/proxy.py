"""The proxy loss: is the image a synthetic anomaly, and where (BMVC 2022, Eq. 4 and 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from vitad_med.errors import ConfigError
from vitad_med.outputs import ProxyOutput

DiceViews = Literal["global_synthetic", "all_synthetic"]


@dataclass(frozen=True, slots=True)
class Views:
    """Crops of one size.

    Attributes:
        images: [V, C, S, S] in 0..1.
        labels: class of each crop, 0 or 1, int64 [V].
        masks: float32 [V, 1, S, S], 1 where the crop shows a synthetic anomaly.
        is_global: whether these are the large crops.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor
    is_global: bool


class ProxyTerms(NamedTuple):
    """Parts of the loss over some crops, already divided by the step's totals, so that parts of a step add up."""

    loss: Tensor
    cross_entropy: Tensor
    dice: Tensor
    token: Tensor


class ProxyLoss(nn.Module):
    """(1 - lambda) cross-entropy over all crops + lambda Dice over crops that show an anomaly (+ an auxiliary term).

    Because attention maps are detached, both terms share no parameter by default: lambda only rescales the rate at
    which the aggregation learns.

    Args:
        dice_weight: lambda in 0..1 (paper: .05).
        token_weight: weight of an auxiliary term that is ours: binary cross-entropy between each patch token and the
            fraction of its pixels that are anomalous. It reaches every token directly, where the image's label reaches
            the encoder through one token only; 0 leaves the paper's loss.
        dice_views: crops that the Dice term sees, ``global_synthetic`` or ``all_synthetic``; never those whose mask is
            empty, where Dice says nothing of *where*.
    """

    def __init__(
        self, dice_weight: float = 0.05, dice_views: DiceViews = "global_synthetic", token_weight: float = 0.0
    ) -> None:
        super().__init__()
        if token_weight < 0:
            raise ConfigError(f"token_weight {token_weight} must not be negative")
        self.token_weight = token_weight
        if not 0 <= dice_weight <= 1:
            raise ConfigError(f"dice_weight {dice_weight} must lie in 0..1")
        if dice_views not in ("global_synthetic", "all_synthetic"):
            raise ConfigError(f"dice_views '{dice_views}' is unknown: use 'global_synthetic' or 'all_synthetic'")
        self.dice_weight = dice_weight
        self.dice_views = dice_views
        self.dice_loss = DiceLoss(reduction="none")

    def selected(self, views: Views) -> Tensor:
        """Which crops the Dice term sees, bool [V]."""
        if self.dice_views == "global_synthetic" and not views.is_global:
            return torch.zeros(len(views.images), dtype=torch.bool, device=views.images.device)
        return views.masks.flatten(1).amax(dim=1) > 0

    def totals(self, step: list[Views]) -> tuple[int, int]:
        """Numbers of crops that the two terms average over in one step."""
        return sum(len(v.images) for v in step), int(sum(int(self.selected(v).sum()) for v in step))

    def forward(self, output: ProxyOutput, views: Views, totals: tuple[int, int]) -> ProxyTerms:
        """Loss of the crops of one forward pass; see :meth:`totals`."""
        cross_entropy = F.cross_entropy(output.logits.float(), views.labels, reduction="sum") / totals[0]
        chosen = self.selected(views)
        dice = output.map_logits.new_zeros(())
        if bool(chosen.any()):
            masks = views.masks[chosen]
            probability = output.map_logits[chosen].float().sigmoid()
            probability = F.interpolate(probability, size=masks.shape[-2:], mode="bilinear", align_corners=False)
            dice = self.dice_loss(probability, masks).sum() / totals[1]
        token = self.token_term(output, views) * (len(views.images) / totals[0])
        loss = (1 - self.dice_weight) * cross_entropy + self.dice_weight * dice + self.token_weight * token
        return ProxyTerms(loss, cross_entropy.detach(), dice.detach(), token.detach())

    def token_term(self, output: ProxyOutput, views: Views) -> Tensor:
        """Mean cross-entropy of patches against the anomalous fraction of their pixels, summed over classifiers."""
        logits = output.token_logits
        target = F.adaptive_avg_pool2d(views.masks, (logits.shape[-2], logits.shape[-1])).expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, target) * logits.shape[1]
