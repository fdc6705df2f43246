"""Nearest neighbours by chunked matrix products."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_squared(query: Tensor, bank: Tensor, bank_norms: Tensor, k: int) -> Tensor:
    """Squared Euclidean distances to the k nearest rows of a bank, ascending.

    Args:
        query: [..., Q, D].
        bank: [..., N, D], k <= N.
        bank_norms: squared norms of its rows, [..., N].
        k: how many.

    Returns:
        [..., Q, k], at least 0. Both sides are best centred on a common point near the data: the norms cancel.
    """
    products = query @ bank.mT
    squares = products.mul_(-2).add_(bank_norms[..., None, :])
    found = squares.amin(dim=-1, keepdim=True) if k == 1 else squares.topk(k, largest=False).values
    return (found + query.square().sum(dim=-1, keepdim=True)).clamp_(min=0)


def squared_norms(rows: Tensor) -> Tensor:
    """[..., N] of [..., N, D]."""
    return torch.linalg.vector_norm(rows, dim=-1).square()
