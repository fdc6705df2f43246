"""What networks say of a batch of images."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class AnomalyOutput(NamedTuple):
    """What every method says of a batch: score [B] in 0..1 and map [B, 1, H, W] in 0..1, higher is more anomalous."""

    score: Tensor
    map: Tensor


class ProxyOutput(NamedTuple):
    """Proxy-task outputs: logits [B, 2] of (normal, synthetic anomaly) and map logits [B, 1, rows, columns]."""

    logits: Tensor
    map_logits: Tensor
