"""Draw many placements into a batch of images on their device: the batched twin of ``render``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vitad_med.synthesis.patch import Placement
from vitad_med.synthesis.poisson import Gradients
from vitad_med.synthesis.poisson_torch import pad_regions, poisson_change_batch
from vitad_med.synthesis.render import Blend


@dataclass(frozen=True)
class RenderedGroup:
    """Placements that were rendered together, padded to a common box of P x Q.

    Attributes:
        members: which placements, in the order given to ``render_batch``.
        before, after: destination and new values, float64 [G, C, P, Q]; they agree outside the regions.
        inside: the regions, bool [G, P, Q].
    """

    members: list[int]
    before: torch.Tensor
    after: torch.Tensor
    inside: torch.Tensor


def render_batch(
    images: torch.Tensor, placements: Sequence[Placement], blend: Blend, gradients: Gradients
) -> Iterator[RenderedGroup]:
    """Render ``placements[k]`` into ``images[k]``.

    Args:
        images: [B, C, H, W], values 0..1, on a device with float64.
        placements: B of them.
        blend: ``poisson`` or ``paste``.
        gradients: guide of the Poisson blend.

    Yields:
        The placements in at most two groups; ``images`` itself is not changed.
    """
    for members in _groups(placements):
        group = [placements[k] for k in members]
        height, width = max(p.height for p in group), max(p.width for p in group)
        regions = [np.ones((p.height, p.width), dtype=bool) if p.region is None else p.region for p in group]
        inside = torch.from_numpy(pad_regions(regions, height, width)).to(images.device)
        windows, patches = _cut(images, members, group, inside)
        before, inner = windows[..., 1:-1, 1:-1], patches[..., 1:-1, 1:-1]
        if blend == "poisson":
            sizes, shapes = [(p.height, p.width) for p in group], [p.region for p in group]
            after = (before + poisson_change_batch(windows, patches, sizes, shapes, gradients)).clamp(0, 1)
        else:
            after = inner.clamp(0, 1)
        yield RenderedGroup(members, before, torch.where(inside[:, None], after, before), inside)


def _groups(placements: Sequence[Placement]) -> Iterator[list[int]]:
    """Indices that are solved together: boxes need one solve, other regions the ring's system too."""
    for boxed in (True, False):
        members = [k for k, placement in enumerate(placements) if (placement.region is None) == boxed]
        if members:
            yield members


def _cut(
    images: torch.Tensor, members: Sequence[int], group: Sequence[Placement], inside: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Destination windows and jittered patches: float64 [G, C, P + 2, Q + 2] each."""
    device = images.device
    channels, image_height, image_width = images.shape[1:]
    # One transfer for all numbers of all placements.
    numbers = torch.tensor(
        [
            [
                *(p.top - 1, p.left - 1),
                *(p.origin[0], *p.axes[0]),
                *(p.origin[1], *p.axes[1]),
                *(p.brightness, p.contrast, p.area),
            ]
            for p in group
        ],
        dtype=torch.float64,
    ).to(device)[:, :, None, None]
    top, left, row_0, row_i, row_j, column_0, column_i, column_j, brightness, contrast, area = numbers.unbind(1)
    i = torch.arange(inside.shape[1] + 2, dtype=torch.float64, device=device)[:, None]
    j = torch.arange(inside.shape[2] + 2, dtype=torch.float64, device=device)
    pixels = images.flatten()
    plane = (torch.tensor(members)[:, None] * channels + torch.arange(channels)).to(device) * (
        image_height * image_width
    )

    def gather(index: torch.Tensor) -> torch.Tensor:
        """Pixels ``index`` [G, P, Q] of an image, in every channel: float64 [G, C, P, Q]."""
        places = plane[:, :, None, None] + index[:, None]
        return pixels.index_select(0, places.flatten()).view(places.shape).to(torch.float64)

    # Clamping moves padded pixels only: every window lies inside its image.
    window_row = (top + i).clamp(max=image_height - 1).long()
    window_column = (left + j).clamp(max=image_width - 1).long()
    windows = gather(window_row * image_width + window_column)

    rows = (row_0 + row_i * i + row_j * j).clamp(0, image_height - 1)
    columns = (column_0 + column_i * i + column_j * j).clamp(0, image_width - 1)
    low_row, low_column = rows.long(), columns.long()
    row_fraction, column_fraction = (rows - low_row)[:, None], (columns - low_column)[:, None]
    corner = low_row * image_width + low_column
    right = (low_column < image_width - 1).long()
    down = (low_row < image_height - 1).long() * image_width
    upper = gather(corner) * (1 - column_fraction) + gather(corner + right) * column_fraction
    corner = corner + down
    lower = gather(corner) * (1 - column_fraction) + gather(corner + right) * column_fraction
    patches = upper * (1 - row_fraction) + lower * row_fraction

    total = (patches[..., 1:-1, 1:-1] * inside[:, None]).sum(dim=(2, 3), keepdim=True)
    offset = total / area[:, None] * (1 - contrast[:, None]) + brightness[:, None]
    return windows, patches * contrast[:, None] + offset
