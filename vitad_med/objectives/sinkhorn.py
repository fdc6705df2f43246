"""Sinkhorn-Knopp: share samples out evenly among prototypes (Cuturi 2013; SwAV, Caron et al. 2020)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


@torch.no_grad()
def sinkhorn(logits: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft assignments whose rows sum to 1 and whose columns carry nearly equal mass.

    Computed in float32 outside autocast, in the log domain, so that small ``epsilon`` does not overflow.

    Args:
        logits: similarities of samples to prototypes, [B, K]; in a distributed run this process's share of the batch.
        epsilon: entropy regularisation; smaller is sharper.
        iterations: alternations of column and row normalisation; the last one normalises rows exactly.

    Returns:
        float32 [B, K].
    """
    with torch.autocast(logits.device.type, enabled=False):
        log_q = logits.float() / epsilon
        for _ in range(iterations):
            log_q = log_q - _log_column_sums(log_q)
            log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)
        return log_q.exp()


def _log_column_sums(log_q: Tensor) -> Tensor:
    """log of the sum over all samples of all processes, [1, K]."""
    if not (dist.is_available() and dist.is_initialized()):
        return log_q.logsumexp(dim=0, keepdim=True)
    peak = log_q.amax(dim=0, keepdim=True)
    dist.all_reduce(peak, op=dist.ReduceOp.MAX)
    total = (log_q - peak).exp().sum(dim=0, keepdim=True)
    dist.all_reduce(total)
    return peak + total.log()
