"""Draw one placement into one image on the CPU. ``render_torch`` does the same for a batch, operation by operation."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from vitad_med.errors import ConfigError
from vitad_med.synthesis.patch import Placement
from vitad_med.synthesis.poisson import Gradients, poisson_change

Blend = Literal["poisson", "paste"]


def render(
    image: np.ndarray, placement: Placement, blend: Blend, gradients: Gradients
) -> tuple[np.ndarray, np.ndarray]:
    """The region's box before and after.

    Args:
        image: [C, H, W], values 0..1.
        placement: what to cut and where to paste it.
        blend: ``poisson`` or ``paste``.
        gradients: guide of the Poisson blend.

    Returns:
        destination and new values, float64 [C, h, w], the latter clipped to 0..1. They agree outside the region.
    """
    top, left, height, width = placement.top, placement.left, placement.height, placement.width
    window = image[:, top - 1 : top + height + 1, left - 1 : left + width + 1].astype(np.float64)
    patch = cut_patch(image, placement)
    before = window[:, 1:-1, 1:-1]
    if blend == "poisson":
        return before, np.clip(before + poisson_change(window, patch, placement.region, gradients), 0, 1)
    pasted = np.clip(patch[:, 1:-1, 1:-1], 0, 1)
    return before, pasted if placement.region is None else np.where(placement.region, pasted, before)


def cut_patch(image: np.ndarray, placement: Placement) -> np.ndarray:
    """The turned, rescaled and jittered patch over the window: float64 [C, h + 2, w + 2]."""
    rows, columns = placement.height + 2, placement.width + 2
    if placement.translates:
        top, left = int(placement.origin[0]), int(placement.origin[1])
        patch = image[:, top : top + rows, left : left + columns].astype(np.float64)
    else:
        patch = _bilinear(image, *_source_coordinates(placement))
    if placement.brightness == 0 and placement.contrast == 1:
        return patch
    inner = patch[:, 1:-1, 1:-1]
    total = inner.sum(axis=(1, 2)) if placement.region is None else (inner * placement.region).sum(axis=(1, 2))
    offset = total / placement.area * (1 - placement.contrast) + placement.brightness
    return patch * placement.contrast + offset[:, None, None]


def _source_coordinates(placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    i, j = np.arange(placement.height + 2.0)[:, None], np.arange(placement.width + 2.0)
    (row_i, row_j), (column_i, column_j) = placement.axes
    return placement.origin[0] + row_i * i + row_j * j, placement.origin[1] + column_i * i + column_j * j


def _bilinear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values at fractional coordinates, edge pixels replicated beyond the image: float64 [C, *rows.shape]."""
    channels, height, width = image.shape
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    low_row, low_column = rows.astype(np.intp), columns.astype(np.intp)
    row_fraction, column_fraction = rows - low_row, columns - low_column
    down = np.where(low_row < height - 1, width, 0)
    right = low_column < width - 1
    corner = low_row * width + low_column
    flat = image.reshape(channels, -1).astype(np.float64)
    upper = flat.take(corner, axis=1) * (1 - column_fraction) + flat.take(corner + right, axis=1) * column_fraction
    corner = corner + down
    lower = flat.take(corner, axis=1) * (1 - column_fraction) + flat.take(corner + right, axis=1) * column_fraction
    return upper * (1 - row_fraction) + lower * row_fraction


def check_blend(blend: str) -> None:
    """Refuse an unknown blend."""
    if blend not in get_args(Blend):
        raise ConfigError(f"blend: {blend!r} is not one of {', '.join(get_args(Blend))}")
