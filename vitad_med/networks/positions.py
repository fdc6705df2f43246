"""Position embeddings of an encoder on other patch grids than its own, resampled once instead of at every forward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class PositionCache:
    """Keeps the position embeddings of one encoder for every patch grid that was asked for.

    timm resamples them in each forward pass at another size (``dynamic_img_size``), though they never change while
    images are scored (``benchmarks/multiscale.py`` has the cost). Where they did change since, by an optimizer or by
    other weights, they are resampled again.
    """

    def __init__(self) -> None:
        self._source: Tensor | None = None
        self._grids: dict[tuple[int, int], nn.Parameter] = {}

    @contextmanager
    def on_grid(self, vit: VisionTransformer, grid: tuple[int, int]) -> Iterator[None]:
        """Within the block the encoder has position embeddings for images of ``grid`` patches, without gradient.

        The encoder itself is changed meanwhile and restored afterwards: for inference by one thread.

        Args:
            vit: encoder from :func:`vitad_med.networks.vit.create_vit`.
            grid: rows and columns of patches.
        """
        own = vit.pos_embed
        own_grid: tuple[int, int] = vit.patch_embed.grid_size
        if own is None or own_grid == grid:
            yield
            return
        vit.pos_embed = self._resampled(vit, own, own_grid, grid)
        vit.patch_embed.grid_size = grid
        try:
            yield
        finally:
            vit.pos_embed = own
            vit.patch_embed.grid_size = own_grid

    @torch.no_grad()
    def _resampled(
        self, vit: VisionTransformer, own: Tensor, own_grid: tuple[int, int], grid: tuple[int, int]
    ) -> nn.Parameter:
        source = self._source
        # Compared by value: an assignment to `.data` leaves identity and version of a parameter as they were.
        if source is None or source.device != own.device or source.dtype != own.dtype or not torch.equal(source, own):
            self._source, self._grids = own.detach().clone(), {}
        if grid not in self._grids:
            resampled = resample_abs_pos_embed(
                own.detach(),
                new_size=list(grid),
                old_size=list(own_grid),
                num_prefix_tokens=0 if vit.no_embed_class else vit.num_prefix_tokens,
            )
            self._grids[grid] = nn.Parameter(resampled, requires_grad=False)
        return self._grids[grid]
