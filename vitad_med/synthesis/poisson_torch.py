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
    solver = RectangleSolver(sizes, windows.device)
    shaped = [region for region in regions if region is not None]
    full = [np.ones(size, dtype=bool) for size in sizes]
    inside = torch.from_numpy(pad_regions(shaped or full, solver.height, solver.width)).to(windows.device)[:, None]
    if gradients == "source":
        excess = patches - windows
        return (excess[..., 1:-1, 1:-1] - _harmonic_extension(excess, sizes, shaped, solver)) * inside
    boxed = solver(_guide_divergence(windows, patches) * inside)
    if not shaped:
        return boxed
    left_over = torch.nn.functional.pad(boxed, (1, 1, 1, 1))
    return (boxed - _harmonic_extension(left_over, sizes, shaped, solver)) * inside


def _guide_divergence(windows: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    down = _excess(windows[..., :, 1:-1].diff(dim=-2), patches[..., :, 1:-1].diff(dim=-2))
    across = _excess(windows[..., 1:-1, :].diff(dim=-1), patches[..., 1:-1, :].diff(dim=-1))
    return down[..., :-1, :] - down[..., 1:, :] + across[..., :-1] - across[..., 1:]


def _excess(destination: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    return (source - destination) * (source.abs() > destination.abs())


def _harmonic_extension(
    windows: torch.Tensor, sizes: Sequence[tuple[int, int]], regions: Sequence[np.ndarray], solver: RectangleSolver
) -> torch.Tensor:
    """Harmonic inside the regions, with the windows' values on their rings; boxes where there are no regions."""
    device = windows.device
    image = torch.arange(len(windows), device=device)[:, None]
    # Sites of the padding are corner (0, 0) of the window, which no stencil reads.
    frame, _ = _padded_sites([frame_sites(*size) for size in sizes])
    frame_rows, frame_columns = (torch.from_numpy(part).to(device) for part in frame)
    sources, outer = torch.zeros((2, *windows.shape), dtype=torch.float64, device=device)
    if not regions:
        outer[image, :, frame_rows, frame_columns] = windows[image, :, frame_rows, frame_columns]
        return solver(_with_frame(sources, outer))

    ring, valid = _padded_sites([region_ring(region) for region in regions])
    rows, columns = (torch.from_numpy(part).to(device) for part in ring)
    reach = table_reach(max(solver.height, solver.width) + 2)
    table, stride = _device_table(reach, device), 2 * reach - 1
    site, frame_site = rows * stride + columns, frame_rows * stride + frame_columns
    middle = table.numel() // 2
    potential = _look_up(table, (site + middle)[:, :, None] - site[:, None, :])
    values = windows[image, :, rows, columns]
    if not valid.all():
        # The padding's rows become those of the identity, so its charges are zero.
        real = torch.from_numpy(valid).to(device)
        potential *= real[:, :, None] & real[:, None, :]
        potential.diagonal(dim1=1, dim2=2).add_(~real)
        values = values * real[:, :, None]
    charge = torch.cholesky_solve(values, torch.linalg.cholesky_ex(potential).L)

    sources[image, :, rows, columns] = charge
    outer[image, :, frame_rows, frame_columns] = (
        _look_up(table, (frame_site + middle)[:, :, None] - site[:, None, :]) @ charge
    )
    return solver(_with_frame(sources, outer))


def _with_frame(sources: torch.Tensor, outer: torch.Tensor) -> torch.Tensor:
    """Right-hand side [G, C, P, Q]: sources inside the window plus Dirichlet data on the frame around each box."""
    beside = outer[..., :-2, 1:-1] + outer[..., 2:, 1:-1] + outer[..., 1:-1, :-2] + outer[..., 1:-1, 2:]
    return sources[..., 1:-1, 1:-1] + beside


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
