"""Vision transformers from timm, with the CLS token's attention in the last block recomputed beside fused attention.

Fused attention never materialises attention weights. Unfusing every block costs 60 % at 4,097 tokens; only one row of
one block is needed, so it is computed apart from that block's own query, key and scale, and the rest stays fused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitad_med.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the encoder says of a batch of images.

    Attributes:
        cls: CLS token after the final norm, [B, D].
        attention: softmax attention of the CLS token to the N patch tokens in the last block, [B, heads, N] (Eq. 1-3,
            BMVC 2022); rows sum to at most 1 because attention to prefix tokens is left out.
        grid: rows and columns of patches, rows * columns = N.
        tokens: every token after the final norm, prefix tokens first, [B, prefix + N, D].
        entering: every token as it enters the last block, whose keys the CLS token attends to, [B, prefix + N, D].
        prefix: number of tokens before those of the patches: CLS, and registers where the architecture has them.
    """

    cls: Tensor
    attention: Tensor
    grid: tuple[int, int]
    tokens: Tensor
    entering: Tensor
    prefix: int

    @property
    def attended(self) -> Tensor:
        """Patch tokens as they enter the last block, [B, N, D]."""
        return self.entering[:, self.prefix :]


def create_vit(architecture: str, image_size: int = 224, drop_path_rate: float = 0.0) -> VisionTransformer:
    """A randomly initialised timm ViT without classifier that accepts any size divisible by its patch size.

    Args:
        architecture: timm name, e.g. ``vit_tiny_patch16_224``.
        image_size: size in pixels of the learned position-embedding grid.
        drop_path_rate: stochastic depth.

    Raises:
        ConfigError: unknown architecture, one without a CLS token, or an image size that patches do not tile.
    """
    try:
        vit = timm.create_model(
            architecture,
            pretrained=False,
            num_classes=0,
            img_size=image_size,
            dynamic_img_size=True,
            drop_path_rate=drop_path_rate,
        )
    except AssertionError as error:
        raise ConfigError(f"image_size {image_size} does not suit architecture '{architecture}': {error}") from error
    except (RuntimeError, TypeError) as error:
        known = [name for name in timm.list_models("vit_*patch*") if architecture.split("_patch")[0] in name]
        hint = f"; near names: {', '.join(known[:4])}" if known else "; `timm.list_models('vit_*')` lists them"
        raise ConfigError(f"architecture '{architecture}' is no timm vision transformer{hint}") from error
    if not isinstance(vit, VisionTransformer) or vit.cls_token is None:
        raise ConfigError(f"architecture '{architecture}' has no CLS token: choose a timm 'vit_*' model that has one")
    check_image_size(vit, image_size)
    return vit


def use_fused_attention(vit: VisionTransformer, fused: bool) -> None:
    """Choose between torch's fused attention kernel and plain matrix products in every block.

    Fused is right for inference and for GPUs. Training on a CPU is the exception: the fused kernel's backward pass
    there makes a step at up to 224 px 1.1 to 1.6 times slower (ViT-Ti, bf16, 2 cores).
    """
    for block in blocks(vit):
        block.attn.fused_attn = fused


@contextmanager
def attention_kernel(vit: VisionTransformer, fused: bool) -> Iterator[None]:
    """:func:`use_fused_attention` for as long as the context lasts; then each block is as it was."""
    before = [block.attn.fused_attn for block in blocks(vit)]
    use_fused_attention(vit, fused)
    try:
        yield
    finally:
        for block, former in zip(blocks(vit), before, strict=True):
            block.attn.fused_attn = former


def head_count(vit: VisionTransformer) -> int:
    """Attention heads of the last block."""
    return int(blocks(vit)[-1].attn.num_heads)


def blocks(vit: VisionTransformer) -> list[Any]:
    """The transformer blocks in their order."""
    return list(vit.blocks)  # timm declares a Module, it is a Sequential


def patch_size(vit: VisionTransformer) -> int:
    """Side of a square patch in pixels."""
    return int(vit.patch_embed.patch_size[0])


def check_image_size(vit: VisionTransformer, image_size: int, key: str = "image_size") -> None:
    """Raise ConfigError, naming the config's key, unless patches tile a square image of this size."""
    patch = patch_size(vit)
    if image_size < patch or image_size % patch:
        nearest = max(patch, round(image_size / patch) * patch)
        raise ConfigError(f"{key} {image_size} is no multiple of the patch size {patch}: use {nearest}")


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Images [B, 1 or 3, H, W] in 0..1 to the three normalised channels that an encoder takes; grey is repeated."""
    return (images.expand(-1, 3, -1, -1) - mean) / std


def _embed(vit: VisionTransformer, images: Tensor, detail: Tensor | None = None) -> tuple[Tensor, tuple[int, int]]:
    """Patch and position embedding: tokens before the first block, and the patch grid."""
    patches = vit.patch_embed(images)
    if detail is not None:
        patches = patches + detail
    grid = (patches.shape[1], patches.shape[2])
    tokens = vit._pos_embed(patches)
    return vit.norm_pre(vit.patch_drop(tokens)), grid


def query_key(vit: VisionTransformer, tokens: Tensor, queries: slice) -> tuple[Tensor, Tensor]:
    """Scaled queries of some tokens and keys of all tokens in the last block, from that block's input.

    Args:
        vit: encoder from :func:`create_vit`.
        tokens: input of the last block, [B, T, D].
        queries: which tokens ask.

    Returns:
        [B, heads, Q, d] and [B, heads, T, d]; float32, or float64 where the tokens are.
    """
    block = blocks(vit)[-1]
    attention = block.attn
    normed = block.norm1(tokens)
    batch = normed.shape[0]  # len() would make the size of the batch a constant of an exported graph
    heads, dim = attention.num_heads, attention.head_dim
    weight, bias = attention.qkv.weight, attention.qkv.bias
    inner = heads * dim

    def project(x: Tensor, start: int, stop: int) -> Tensor:
        part = nn.functional.linear(x, weight[start:stop], None if bias is None else bias[start:stop])
        return part.reshape(batch, -1, heads, dim).transpose(1, 2)

    query = attention.q_norm(project(normed[:, queries], 0, inner))
    key = attention.k_norm(project(normed, inner, 2 * inner))
    # A 16-bit softmax over hundreds of tokens would lose the small differences that make the map. Under autocast the
    # product that follows is still taken in 16 bits, unless the caller leaves autocast.
    exact = torch.promote_types(query.dtype, torch.float32)
    return query.to(exact) * attention.scale, key.to(exact)


def _cls_attention(vit: VisionTransformer, tokens: Tensor) -> Tensor:
    """CLS row of the last block's attention to patch tokens, from that block's input tokens [B, T, D]."""
    query, key = query_key(vit, tokens, slice(0, 1))
    return (query @ key.transpose(-2, -1)).softmax(dim=-1)[:, :, 0, vit.num_prefix_tokens :]


def encode(
    vit: VisionTransformer, images: Tensor, *, detach_attention: bool = True, detail: Tensor | None = None
) -> Encoding:
    """Run the encoder and recompute the CLS row of its last block's attention.

    Args:
        vit: encoder from :func:`create_vit`.
        images: normalised images, [B, 3, H, W].
        detach_attention: keep the attention row out of the gradient graph, as the papers do.
        detail: [B, rows, columns, D], added to the patch embedding (:class:`vitad_med.networks.detail.DetailStem`).

    Returns:
        the :class:`Encoding`.
    """
    tokens, grid = _embed(vit, images, detail)
    for block in blocks(vit)[:-1]:
        tokens = block(tokens)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach_attention):
        attention = _cls_attention(vit, tokens.detach() if detach_attention else tokens)
    entering = tokens
    tokens = vit.norm(blocks(vit)[-1](tokens))
    return Encoding(tokens[:, 0], attention, grid, tokens, entering, vit.num_prefix_tokens)


@torch.no_grad()
def saliency(vit: VisionTransformer, images: Tensor) -> Tensor:
    """Mean over heads of the CLS attention (Eq. 2-3, BMVC 2022) on the patch grid, [B, rows, columns].

    The last block itself is not run: only its query and key are needed.
    """
    tokens, (rows, columns) = _embed(vit, images)
    for block in blocks(vit)[:-1]:
        tokens = block(tokens)
    return _cls_attention(vit, tokens).mean(dim=1).reshape(-1, rows, columns)
