"""How targets use the prototypes: what the collapse of self-distillation shows in."""

from __future__ import annotations

import math

import torch
from torch import Tensor


@torch.no_grad()
def prototype_usage(target: Tensor) -> dict[str, float]:
    """Figures of a batch of target distributions.

    Args:
        target: distributions over K prototypes, [..., K].

    Returns:
        ``target_entropy``, the mean entropy of a target, and ``usage_entropy``, that of the mean target, both over
        log K: 1 and 1 mean uniform collapse, 0 and 0 collapse to one prototype. ``prototypes_used``: how many different
        prototypes lead a target of this batch.
    """
    count = target.shape[-1]
    flat = target.reshape(-1, count)
    mean_target = target.mean(dim=tuple(range(target.ndim - 1)))
    return {
        "target_entropy": float(torch.special.entr(target).sum(dim=-1).mean() / math.log(count)),
        "usage_entropy": float(torch.special.entr(mean_target).sum() / math.log(count)),
        "prototypes_used": float(len(flat.argmax(dim=-1).unique())),
    }
