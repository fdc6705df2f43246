"""Entropy of each patch token's attention in the last block (Eq. 6 and 9, BMVC 2022)."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vitad_med.networks.vit import query_key

FLOOR = 1e-12
"""Attention below this counts as this inside the logarithm: 0 log 0 has a value of 0 but no finite gradient."""

CHUNK_ELEMENTS = 1 << 23
"""Attention weights held at once, 32 MB in float32: a batch of 16 at 224 px fits whole, one at 512 px in parts."""


def attention_entropy(
    vit: VisionTransformer,
    tokens: Tensor,
    head_weights: Tensor,
    *,
    renormalise: bool = True,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> Tensor:
    """How evenly each patch token attends to the other patches.

    The N x N matrix is the heads' attention under ``head_weights`` without the rows and columns of the prefix tokens.
    It is made some rows at a time; where gradients are needed and more than one part is, each part is computed again
    in the backward pass instead of being kept.

    Args:
        vit: encoder.
        tokens: input of its last block, [B, prefix + N, D] (:attr:`vitad_med.networks.vit.Encoding.entering`).
        head_weights: non-negative, sum 1, [heads].
        renormalise: let the rows sum to 1 again after the columns of the prefix tokens are gone; False is the paper's
            literal reading, whose entropy is not at most log N in general.
        chunk_elements: largest number of attention weights, over batch, heads, rows and columns, held at once.

    Returns:
        [B, N] in nats, 0 to log N where rows are renormalised; float32, or float64 where the tokens are.
    """
    prefix = vit.num_prefix_tokens
    query, key = query_key(vit, tokens, slice(prefix, None))
    # Autocast would put the products below into 16 bits, which move an entropy by more than adaptation does.
    with torch.autocast(tokens.device.type, enabled=False):
        return _in_parts(query, key, head_weights, prefix, renormalise, chunk_elements)


def _in_parts(
    query: Tensor, key: Tensor, head_weights: Tensor, prefix: int, renormalise: bool, chunk_elements: int
) -> Tensor:
    batch, heads, count, _ = query.shape
    rows = max(1, min(count, chunk_elements // (batch * heads * key.shape[2])))
    weights = head_weights.to(query.dtype)

    def entropy(part: Tensor, keys: Tensor) -> Tensor:
        attention = torch.einsum("h,bhqk->bqk", weights, (part @ keys.transpose(-2, -1)).softmax(dim=-1))
        return row_entropy(attention[..., prefix:], renormalise)

    parts = query.split(rows, dim=2)
    recompute = len(parts) > 1 and torch.is_grad_enabled() and query.requires_grad
    return torch.cat(
        [checkpoint(entropy, p, key, use_reentrant=False) if recompute else entropy(p, key) for p in parts], dim=1
    )


def row_entropy(attention: Tensor, renormalise: bool = True) -> Tensor:
    """-sum_k A_k log A_k of rows A of attention [..., N]; gradients are finite at zero attention too.

    Args:
        attention: non-negative.
        renormalise: divide each row by its sum first.

    Returns:
        [...], log N for an even row of sum 1.
    """
    if renormalise:
        attention = attention / attention.sum(dim=-1, keepdim=True).clamp(min=FLOOR)
    return -(attention * attention.clamp(min=FLOOR).log()).sum(dim=-1)
