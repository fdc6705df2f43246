"""What networks say of a batch of images."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class AnomalyOutput(NamedTuple):
    """What every method says of a batch: score [B] in 0..1 and map [B, 1, H, W] in 0..1, higher is more anomalous."""

    score: Tensor
    map: Tensor


class ProxyOutput(NamedTuple):
    """Proxy-task outputs.

    Attributes:
        logits: of (normal, synthetic anomaly), [B, 2].
        map_logits: of the aggregated attention map, [B, 1, rows, columns].
        token_logits: of the auxiliary classifiers of single patches, [B, 1 or 2, rows, columns]: on the tokens, and on
            the detail stem where there is one; a help for training only.
    """

    logits: Tensor
    map_logits: Tensor
    token_logits: Tensor
