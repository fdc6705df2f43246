"""The discrete Poisson equation on a rectangle, solved exactly by the type-I discrete sine transform (DST-I).

The five-point Laplacian with Dirichlet data has the sines as eigenvectors (Buzbee, Golub and Nielson 1970). Up to a few
hundred pixels the transform is fastest as matrix products; above, the fast transform of scipy wins. Every second sine
is symmetric about the middle and the others are antisymmetric, so folding halves the products: *spectra here hold the
symmetric sines first*, then the antisymmetric ones.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft

MATRIX_LIMIT = 300  # pixels


@lru_cache(maxsize=512)
def sine_matrix(size: int) -> np.ndarray:
    """Orthonormal, symmetric DST-I matrix [size, size], float64, read-only."""
    k = np.arange(1, size + 1)
    # Reducing the product before the sine keeps full precision for large sizes.
    phase = np.outer(k, k) % (2 * (size + 1))
    return _frozen(np.sqrt(2 / (size + 1)) * np.sin(np.pi / (size + 1) * phase))


@lru_cache(maxsize=512)
def eigenvalues(size: int) -> np.ndarray:
    """Eigenvalues [size] of 2 u_i - u_{i-1} - u_{i+1}, in the order of ``sine_matrix``, float64, read-only."""
    return _frozen(4 * np.sin(np.pi * np.arange(1, size + 1) / (2 * (size + 1))) ** 2)


def solve_rectangle(right_side: np.ndarray) -> np.ndarray:
    """Solve 4 u_p - sum of the 4 neighbours u_q = f_p on a rectangle, u = 0 around it.

    Args:
        right_side: f, float64 [..., h, w].

    Returns:
        u, float64 [..., h, w], exact to rounding.
    """
    height, width = right_side.shape[-2:]
    if max(height, width) <= MATRIX_LIMIT:
        return _from_spectrum(_rows_forward(_columns_forward(right_side)))
    transformed = fft.dstn(right_side, type=1, axes=(-2, -1), norm="ortho")
    transformed /= eigenvalues(height)[:, None] + eigenvalues(width)
    return fft.dstn(transformed, type=1, axes=(-2, -1), norm="ortho", overwrite_x=True)


def extend_rectangle(window: np.ndarray) -> np.ndarray:
    """The discrete harmonic function on a rectangle with given values around it: 4 u_p = sum of the 4 neighbours.

    The right-hand side lives on the outermost rows and columns, so its transform is a sum of four outer products: half
    the work of ``solve_rectangle``.

    Args:
        window: float64 [..., h + 2, w + 2]; only its frame is read.

    Returns:
        u, float64 [..., h, w], exact to rounding.
    """
    height, width = window.shape[-2] - 2, window.shape[-1] - 2
    if max(height, width) > MATRIX_LIMIT:
        right_side = np.zeros((*window.shape[:-2], height, width))
        add_frame(right_side, window)
        return solve_rectangle(right_side)
    # The steps pick the first and the last row or column.
    above_below = np.ascontiguousarray(window[..., :: height + 1, 1:-1]) @ _folded_order(width)
    before_after = _folded_order(height).T @ np.ascontiguousarray(window[..., 1:-1, :: width + 1])
    first_last_row, first_last_column = _folded_order(height)[[0, -1]], _folded_order(width)[[0, -1]]
    return _from_spectrum(first_last_row.T @ above_below + before_after @ first_last_column)


def add_frame(right_side: np.ndarray, window: np.ndarray) -> None:
    """Add the frame of a window [..., h + 2, w + 2], as Dirichlet data, to a right-hand side [..., h, w] in place."""
    right_side[..., 0, :] += window[..., 0, 1:-1]
    right_side[..., -1, :] += window[..., -1, 1:-1]
    right_side[..., :, 0] += window[..., 1:-1, 0]
    right_side[..., :, -1] += window[..., 1:-1, -1]


def _from_spectrum(spectrum: np.ndarray) -> np.ndarray:
    height, width = spectrum.shape[-2:]
    return _rows_backward(_columns_backward(spectrum * _inverse_eigenvalues(height, width)))


@lru_cache(maxsize=512)
def _halves(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric sines on the first half, middle included, and antisymmetric ones without it: [pixel, frequency]."""
    matrix, middle = sine_matrix(size), size // 2
    return _frozen(matrix[: size - middle, ::2].copy()), _frozen(matrix[:middle, 1::2].copy())


@lru_cache(maxsize=512)
def _folded_order(size: int) -> np.ndarray:
    """All sines [pixel, frequency], the symmetric ones first."""
    return _frozen(np.concatenate([sine_matrix(size)[:, ::2], sine_matrix(size)[:, 1::2]], axis=1))


@lru_cache(maxsize=64)
def _inverse_eigenvalues(height: int, width: int) -> np.ndarray:
    rows, columns = (np.concatenate([eigenvalues(n)[::2], eigenvalues(n)[1::2]]) for n in (height, width))
    return _frozen(1 / (rows[:, None] + columns))


def _columns_forward(values: np.ndarray) -> np.ndarray:
    size = values.shape[-1]
    symmetric, antisymmetric = _halves(size)
    middle, half = size // 2, size - size // 2
    first, last = values[..., :middle], values[..., : half - 1 : -1]
    folded = np.array(values[..., :half])
    folded[..., :middle] += last
    spectrum = np.empty_like(values, order="C")
    np.matmul(folded, symmetric, out=spectrum[..., :half])
    np.matmul(first - last, antisymmetric, out=spectrum[..., half:])
    return spectrum


def _rows_forward(values: np.ndarray) -> np.ndarray:
    size = values.shape[-2]
    symmetric, antisymmetric = _halves(size)
    middle, half = size // 2, size - size // 2
    first, last = values[..., :middle, :], values[..., : half - 1 : -1, :]
    folded = np.array(values[..., :half, :])
    folded[..., :middle, :] += last
    spectrum = np.empty_like(values, order="C")
    np.matmul(symmetric.T, folded, out=spectrum[..., :half, :])
    np.matmul(antisymmetric.T, first - last, out=spectrum[..., half:, :])
    return spectrum


def _columns_backward(spectrum: np.ndarray) -> np.ndarray:
    size = spectrum.shape[-1]
    symmetric, antisymmetric = _halves(size)
    middle, half = size // 2, size - size // 2
    values = np.empty_like(spectrum, order="C")
    even, odd = spectrum[..., :half] @ symmetric.T, spectrum[..., half:] @ antisymmetric.T
    values[..., :half] = even
    values[..., :middle] += odd
    np.subtract(even[..., :middle], odd, out=values[..., : half - 1 : -1])
    return values


def _rows_backward(spectrum: np.ndarray) -> np.ndarray:
    size = spectrum.shape[-2]
    symmetric, antisymmetric = _halves(size)
    middle, half = size // 2, size - size // 2
    values = np.empty_like(spectrum, order="C")
    even, odd = symmetric @ spectrum[..., :half, :], antisymmetric @ spectrum[..., half:, :]
    values[..., :half, :] = even
    values[..., :middle, :] += odd
    np.subtract(even[..., :middle, :], odd, out=values[..., : half - 1 : -1, :])
    return values


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
