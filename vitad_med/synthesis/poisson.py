"""Exact discrete Poisson blending of one patch (Perez, Gangnet and Blake, SIGGRAPH 2003), in double precision.

Inside a region the blend u solves, for every pixel p with its 4 neighbours q,

    sum_q (u_p - u_q) = sum_q v_pq,      u = destination outside the region,

where v_pq is the guide: the difference g_p - g_q of the patch (``source``), or whichever of g_p - g_q and the
destination's difference is larger in size (``mixed``). The unknown here is the change e = u - destination, which
vanishes outside, so pixels outside the region are never touched.

With the ``source`` guide, u is the patch plus a discrete harmonic function that takes the difference of destination and
patch on the *ring* (the pixels around the region). With ``mixed``, the right-hand side is solved in the region's
bounding box, and a harmonic function cancels what that solution leaves on the ring.

In a rectangle the harmonic function comes from sine transforms. In any other region it is the potential of charges on
the ring: such a potential is harmonic away from them, and the charges follow from one symmetric positive definite
system of ring size (capacitance matrix method, Buzbee, Dorr, George and Golub 1971). All solves are direct: the
residual is at rounding level, not at an iteration's tolerance.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from vitad_med.errors import ConfigError
from vitad_med.synthesis.dst import add_frame, extend_rectangle, solve_rectangle
from vitad_med.synthesis.lattice import green_table, table_reach

Gradients = Literal["source", "mixed"]


def poisson_blend(
    image: np.ndarray,
    patch: np.ndarray,
    top: int,
    left: int,
    region: np.ndarray | None = None,
    gradients: Gradients = "source",
) -> np.ndarray:
    """Blend one patch into an image.

    Args:
        image: [C, H, W] or [H, W], floating point.
        patch: values over the window: the region's box and one pixel around it, [C, h + 2, w + 2] or [h + 2, w + 2].
        top, left: first row and column of the box [h, w] in the image, at least 1 and at most H - h - 1, W - w - 1.
        region: bool [h, w], the pixels to change; None for all of the box.
        gradients: ``source`` or ``mixed``.

    Returns:
        A new array like ``image``; not clipped. Pixels outside the region are bit-identical.

    Raises:
        ConfigError: unknown ``gradients``.
        ValueError: the window leaves the image, or shapes disagree.
    """
    check_gradients(gradients)
    height, width = patch.shape[-2] - 2, patch.shape[-1] - 2
    if not (1 <= top <= image.shape[-2] - height - 1 and 1 <= left <= image.shape[-1] - width - 1):
        raise ValueError(f"a {height} x {width} region at ({top}, {left}) needs one pixel of margin inside the image")
    if region is not None and region.shape != (height, width):
        raise ValueError(f"region {region.shape} does not fit a patch window of {height} + 2 by {width} + 2")
    window = image[..., top - 1 : top + height + 1, left - 1 : left + width + 1].astype(np.float64)
    change = poisson_change(window, patch, region, gradients)
    blended = image.copy()
    box = blended[..., top : top + height, left : left + width]
    np.copyto(box, window[..., 1:-1, 1:-1] + change, where=True if region is None else region, casting="same_kind")
    return blended


def poisson_change(
    window: np.ndarray, patch: np.ndarray, region: np.ndarray | None, gradients: Gradients
) -> np.ndarray:
    """What the blend adds to the destination.

    Args:
        window: destination, float64 [..., h + 2, w + 2].
        patch: source, same shape.
        region: bool [h, w] or None for the whole box.
        gradients: ``source`` or ``mixed``.

    Returns:
        float64 [..., h, w], zero outside the region.
    """
    if gradients == "mixed":
        right_side = guide_divergence(window, patch)
        return solve_rectangle(right_side) if region is None else solve_region(right_side, region)
    excess = patch - window
    change = excess[..., 1:-1, 1:-1] - harmonic_extension(excess, region)
    return change if region is None else change * region


def guide_divergence(window: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """Right-hand side for the change, mixed: guide minus destination, summed over 4 neighbours, [..., h, w]."""
    down = _excess(np.diff(window[..., :, 1:-1], axis=-2), np.diff(patch[..., :, 1:-1], axis=-2))
    across = _excess(np.diff(window[..., 1:-1, :], axis=-1), np.diff(patch[..., 1:-1, :], axis=-1))
    return down[..., :-1, :] - down[..., 1:, :] + across[..., :-1] - across[..., 1:]


def _excess(destination: np.ndarray, source: np.ndarray) -> np.ndarray:
    return (source - destination) * (np.abs(source) > np.abs(destination))


def solve_region(right_side: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Solve 4 u_p - sum of the 4 neighbours u_q = f_p on a region of any shape, u = 0 around it.

    Args:
        right_side: f, float64 [..., h, w]; values outside the region are ignored.
        region: bool [h, w], not empty.

    Returns:
        u, float64 [..., h, w], zero outside the region, exact to rounding.
    """
    padded = np.zeros((*right_side.shape[:-2], region.shape[0] + 2, region.shape[1] + 2))
    boxed = padded[..., 1:-1, 1:-1]
    boxed[...] = solve_rectangle(right_side * region)
    return (boxed - harmonic_extension(padded, region)) * region


def harmonic_extension(window: np.ndarray, region: np.ndarray | None) -> np.ndarray:
    """The function with 4 u_p = sum of the 4 neighbours u_q in a region, and the window's values on the ring around it.

    Args:
        window: float64 [..., h + 2, w + 2]; only the ring is read.
        region: bool [h, w], not empty; None for the whole box.

    Returns:
        u, float64 [..., h, w]; outside the region it has no meaning.
    """
    if region is None:
        return extend_rectangle(window)
    height, width = region.shape
    rows, columns = region_ring(region)
    table = green_table(table_reach(max(height, width) + 2))
    site = rows * table.shape[1] + columns
    middle = table.size // 2
    potential = table.ravel().take((site + middle)[:, None] - site)
    # Symmetric, so its transpose is the same matrix in the memory order that LAPACK can overwrite.
    factor = cho_factor(potential.T, lower=True, overwrite_a=True, check_finite=False)
    values = window[..., rows, columns].reshape(-1, len(rows))
    charge = cho_solve(factor, values.T, check_finite=False).T

    # The charges' field inside the box: their own right-hand side, and their potential on the frame as Dirichlet data.
    frame = frame_sites(height, width)
    frame_site = frame[0] * table.shape[1] + frame[1]
    sources, outer = np.zeros((2, len(charge), height + 2, width + 2))
    sources[:, rows, columns] = charge
    outer[:, frame[0], frame[1]] = charge @ table.ravel().take((frame_site + middle)[:, None] - site).T
    right_side = sources[:, 1:-1, 1:-1]
    add_frame(right_side, outer)
    return solve_rectangle(right_side).reshape(*window.shape[:-2], height, width)


def region_ring(region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixels outside a region that are 4-neighbours of it: rows and columns in the window [h + 2, w + 2]."""
    padded = np.pad(region, 1)
    near = np.zeros_like(padded)
    near[1:] |= padded[:-1]
    near[:-1] |= padded[1:]
    near[:, 1:] |= padded[:, :-1]
    near[:, :-1] |= padded[:, 1:]
    rows, columns = np.nonzero(near & ~padded)
    return rows, columns


def frame_sites(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame of the window [h + 2, w + 2] without its corners: rows and columns."""
    along, down = np.arange(1, width + 1), np.arange(1, height + 1)
    rows = np.concatenate([np.zeros_like(along), np.full_like(along, height + 1), down, down])
    columns = np.concatenate([along, along, np.zeros_like(down), np.full_like(down, width + 1)])
    return rows, columns


def check_gradients(gradients: str) -> None:
    """Refuse an unknown guide."""
    if gradients not in get_args(Gradients):
        raise ConfigError(f"gradients: {gradients!r} is not one of {', '.join(get_args(Gradients))}")
