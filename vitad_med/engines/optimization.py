"""Optimizers and the schedule that both training stages share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from vitad_med.errors import ConfigError


def parameter_groups(modules: Iterable[nn.Module], weight_decay: float, **options: Any) -> list[dict[str, Any]]:
    """Two groups of trainable parameters: vectors (biases, norms), which do not decay, and all others, which do.

    As in DINO, whose CLS token, position embeddings and prototypes decay too.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1]
    free = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay, **options},
        {"params": free, "weight_decay": 0.0, **options},
    ]
    return [group for group in groups if group["params"]]


def create_optimizer(
    groups: list[dict[str, Any]], name: Literal["sgd", "adamw"], learning_rate: float, momentum: float = 0.9
) -> Optimizer:
    """SGD with momentum (BMVC 2022) or AdamW (AAAI 2023)."""
    if learning_rate <= 0:
        raise ConfigError(f"learning_rate {learning_rate} must be above 0")
    if name == "sgd":
        return SGD(groups, lr=learning_rate, momentum=momentum)
    if name == "adamw":
        return AdamW(groups, lr=learning_rate)
    raise ConfigError(f"optimizer '{name}' is unknown: use 'sgd' or 'adamw'")


def warmup_cosine(
    optimizer: Optimizer,
    warmup_steps: int,
    total_steps: int,
    final_fraction: float = 0.0,
    start_fraction: float | None = None,
) -> LambdaLR:
    """Linear rise over ``warmup_steps``, then a half cosine to ``final_fraction``; one call of ``step`` an iteration.

    The rise begins at ``start_fraction``. By default the first step already moves (a rate of 1 / warmup_steps), unlike
    schedules that start at zero.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            if start_fraction is not None:
                return start_fraction + (1 - start_fraction) * step / warmup_steps
            return (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
