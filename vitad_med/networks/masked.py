"""The forward pass of a ViT over some of its patch tokens: dropped ones shorten the sequence, hidden ones are replaced.

Position embeddings are added before tokens are dropped, so that what is kept knows where it comes from. Prefix tokens
(CLS, registers) always stay.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitad_med.networks.vit import blocks


def forward_tokens(
    vit: VisionTransformer,
    images: Tensor,
    kept: Tensor | None = None,
    hidden: Tensor | None = None,
    mask_token: Tensor | None = None,
) -> Tensor:
    """Tokens after the final norm, of whole images or of the patches that are kept.

    Args:
        vit: encoder from :func:`vitad_med.networks.vit.create_vit`.
        images: normalised images, [B, 3, H, W].
        kept: indices of the patch tokens that go through the blocks, [B, n] int64, row by row of the patch grid; the
            other N - n are dropped. None keeps all.
        hidden: True where ``mask_token`` stands in for a patch embedding, [B, N] bool (Zhou et al. 2022, section 3.1).
        mask_token: [1, 1, 1, D]; needed with ``hidden``.

    Returns:
        [B, prefix + n, D], prefix tokens first, patches in the order of ``kept``. With neither ``kept`` nor ``hidden``
        it is timm's ``forward_features``, operation by operation.
    """
    patches = vit.patch_embed(images)  # [B, rows, columns, D]
    if hidden is not None:
        assert mask_token is not None
        patches = torch.where(hidden.reshape(*patches.shape[:3], 1), mask_token, patches)
    tokens = vit._pos_embed(patches)
    if kept is not None:
        tokens = keep_patches(tokens, kept, vit.num_prefix_tokens)
    tokens = vit.norm_pre(vit.patch_drop(tokens))
    for block in blocks(vit):
        tokens = block(tokens)
    return vit.norm(tokens)


def keep_patches(tokens: Tensor, kept: Tensor, prefix: int) -> Tensor:
    """All prefix tokens and, of each image, the patch tokens with its own indices ``kept``.

    Args:
        tokens: [B, prefix + N, D].
        kept: [B, n] int64 in 0..N-1.
        prefix: number of tokens before those of the patches.

    Returns:
        [B, prefix + n, D].
    """
    index = kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
    return torch.cat([tokens[:, :prefix], tokens[:, prefix:].gather(1, index)], dim=1)
