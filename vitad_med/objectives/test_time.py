"""Losses of test-time adaptation that look at the predictions alone: the paper's two baselines."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def prediction_entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predicted classes in nats, of logits [B, classes] (TENT, Wang et al., ICLR 2021)."""
    log_probability = logits.float().log_softmax(dim=1)
    return -(log_probability.exp() * log_probability).sum(dim=1).mean()


def pseudo_label_loss(logits: Tensor) -> Tensor:
    """Mean cross-entropy with the classes that the logits [B, classes] themselves predict (Lee, 2013)."""
    return F.cross_entropy(logits.float(), logits.detach().argmax(dim=1))
