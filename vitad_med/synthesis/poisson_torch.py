"""Exact Poisson blending of a batch of patches of different sizes with torch, on any device that has float64.

The same direct solves as ``vitad_med.synthesis.poisson``. Patches are padded to a common size: the sine matrices are
zero in the padding, so every patch is transformed at its own size and the padding never mixes in. Nothing iterates and
nothing is read back from the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from vitad_med.synthesis.dst import eigenvalues, sine_matrix
from vitad_med.synthesis.lattice import green_table, table_reach
from vitad_med.synthesis.poisson import Gradients, frame_sites, region_ring


class RectangleSolver:
    """Solves 4 u_p - sum of the 4 neighbours u_q = f_p on G rectangles at once, u = 0 around each.

    Args:
        sizes: height and width of each rectangle.
        device: where to solve.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> None:
        heights, widths = [h for h, _ in sizes], [w for _, w in sizes]
        self.height, self.width = max(heights), max(widths)
        self._rows, row_values = _padded_sines(heights, self.height)
        self._columns, column_values = _padded_sines(widths, self.width)
        self._rows, self._columns = self._rows.to(device), self._columns.to(device)
        self._inverse = (1 / (row_values[:, None, :, None] + column_values[:, None, None, :])).to(device)

    def __call__(self, right_side: torch.Tensor) -> torch.Tensor:
        """f to u, float64 [G, C, height, width]; f in the padding is ignored and u there is zero."""
        spectrum = self._rows @ right_side @ self._columns * self._inverse
        return self._rows @ spectrum @ self._columns


def poisson_change_batch(
    windows: torch.Tensor,
    patches: torch.Tensor,
    sizes: Sequence[tuple[int, int]],
    regions: Sequence[np.ndarray | None],
    gradients: Gradients,
) -> torch.Tensor:
    """What the blend adds to the destination, for G patches padded to a common P x Q.

    Args:
        windows: destinations, float64 [G, C, P + 2, Q + 2].
        patches: sources, same shape; values in the padding are ignored.
        sizes: height and width of each box, at most P, Q.
        regions: bool [h, w] for each, None for the whole box. Either all are None or none is.
        gradients: ``source`` or ``mixed``.

    Returns:
        float64 [G, C, P, Q], zero outside the regions.
    """
    right_side = _guide_divergence(windows, patches, gradients)
    solver = RectangleSolver(sizes, windows.device)
    shaped = [region for region in regions if region is not None]
    return _solve_regions(right_side, shaped, solver) if shaped else solver(right_side)


def _guide_divergence(windows: torch.Tensor, patches: torch.Tensor, gradients: Gradients) -> torch.Tensor:
    down = _excess(windows[..., :, 1:-1].diff(dim=-2), patches[..., :, 1:-1].diff(dim=-2), gradients)
    across = _excess(windows[..., 1:-1, :].diff(dim=-1), patches[..., 1:-1, :].diff(dim=-1), gradients)
    return down[..., :-1, :] - down[..., 1:, :] + across[..., :-1] - across[..., 1:]


def _excess(destination: torch.Tensor, source: torch.Tensor, gradients: Gradients) -> torch.Tensor:
    excess = source - destination
    return excess * (source.abs() > destination.abs()) if gradients == "mixed" else excess


def _solve_regions(right_side: torch.Tensor, regions: Sequence[np.ndarray], solver: RectangleSolver) -> torch.Tensor:
    device = right_side.device
    count, channels = right_side.shape[:2]
    height, width = solver.height, solver.width
    inside = torch.from_numpy(pad_regions(regions, height, width)).to(device)[:, None]
    boxed = solver(right_side * inside)

    # Sites of the padding are corner (0, 0) of the window, which no stencil reads.
    ring, ring_valid = _padded_sites([region_ring(region) for region in regions])
    frame, _ = _padded_sites([frame_sites(*region.shape) for region in regions])
    table = _device_table(table_reach(max(height, width) + 2), device)
    stride = 2 * table_reach(max(height, width) + 2) - 1
    middle = table.numel() // 2
    ring_site = torch.from_numpy(ring[0] * stride + ring[1]).to(device)
    frame_site = torch.from_numpy(frame[0] * stride + frame[1]).to(device)
    valid = torch.from_numpy(ring_valid).to(device)
    potential = _look_up(table, ring_site[:, :, None] - ring_site[:, None, :] + middle)
    if not ring_valid.all():
        # The padding's rows become those of the identity, so its charges are zero.
        potential *= valid[:, :, None] & valid[:, None, :]
        potential.diagonal(dim1=1, dim2=2).add_(~valid)

    image = torch.arange(count, device=device)[:, None]
    ring_rows, ring_columns = (torch.from_numpy(part).to(device) for part in ring)
    padded = torch.nn.functional.pad(boxed, (1, 1, 1, 1))
    missed = padded[image, :, ring_rows, ring_columns] * valid[:, :, None]
    charge = -torch.cholesky_solve(missed, torch.linalg.cholesky_ex(potential).L)

    field = torch.zeros(count, channels, height + 2, width + 2, dtype=torch.float64, device=device)
    field[image, :, ring_rows, ring_columns] = charge
    on_frame = _look_up(table, frame_site[:, :, None] - ring_site[:, None, :] + middle) @ charge
    outer = torch.zeros_like(field)
    outer[image, :, torch.from_numpy(frame[0]).to(device), torch.from_numpy(frame[1]).to(device)] = on_frame
    source = field[..., 1:-1, 1:-1] + (
        outer[..., :-2, 1:-1] + outer[..., 2:, 1:-1] + outer[..., 1:-1, :-2] + outer[..., 1:-1, 2:]
    )
    return (boxed + solver(source)) * inside


def _look_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    # Several times faster on the CPU than table[index].
    return table.index_select(0, index.flatten()).view(index.shape)


def pad_regions(regions: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Stack regions of different sizes: bool [G, height, width], False in the padding."""
    padded = np.zeros((len(regions), height, width), dtype=bool)
    for row, region in zip(padded, regions, strict=True):
        row[: region.shape[0], : region.shape[1]] = region
    return padded


def _padded_sites(sites: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns int64 [2, G, M] padded with 0, and which are real, bool [G, M]."""
    longest = max(len(rows) for rows, _ in sites)
    padded = np.zeros((2, len(sites), longest), dtype=np.int64)
    valid = np.zeros((len(sites), longest), dtype=bool)
    for k, pair in enumerate(sites):
        padded[:, k, : len(pair[0])] = pair
        valid[k, : len(pair[0])] = True
    return padded, valid


def _padded_sines(lengths: Sequence[int], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sine matrices [G, 1, size, size], zero in the padding, and eigenvalues [G, size], one in the padding."""
    matrices = np.zeros((len(lengths), 1, size, size))
    values = np.ones((len(lengths), size))
    for k, length in enumerate(lengths):
        matrices[k, 0, :length, :length] = sine_matrix(length)
        values[k, :length] = eigenvalues(length)
    return torch.from_numpy(matrices), torch.from_numpy(values)


@lru_cache(maxsize=8)
def _device_table(reach: int, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(green_table(reach).ravel().copy()).to(device)
