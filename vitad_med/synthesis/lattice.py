"""Green's function of the five-point Laplacian on the unbounded square lattice.

A point source on the lattice has the potential -a(x, y), where a is the potential kernel (Spitzer 1976, section 15;
McCrea and Whipple 1940):

    a(x, y) = 1/(2 pi) integral_0^pi (1 - cos(x t) exp(-|y| s(t))) / sinh s(t) dt,   cosh s = 2 - cos t,

with a(0, 0) = 0, a(1, 0) = 1/4, a(1, 1) = 1/pi. It depends on the offset only, so one table serves regions of any
shape.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import roots_legendre


def table_reach(extent: int) -> int:
    """Reach of the table that serves offsets up to ``extent``: a power of two, so that few tables are ever made."""
    return max(64, 1 << extent.bit_length())


@lru_cache(maxsize=8)
def green_table(reach: int) -> np.ndarray:
    """Green's function at every offset with |x|, |y| < reach.

    A constant is added that makes all values positive. Constants are harmonic, so potentials stay potentials, and the
    matrix of mutual potentials of any set of distinct sites becomes positive definite.

    Returns:
        float64 [2 reach - 1, 2 reach - 1], offset (0, 0) in the middle, read-only, exact to about 1e-12.
    """
    # Gauss-Legendre on (0, pi); the fastest cosine needs two nodes a radian.
    node, weight = roots_legendre(2 * reach + 64)
    t, weight = (node + 1) * (np.pi / 2), weight * (np.pi / 2)
    s = 2 * np.arcsinh(np.sin(t / 2))  # the root of cosh s = 2 - cos t, without cancellation near 0
    weight = weight / np.sinh(s)
    offset = np.arange(reach)
    decayed = np.cos(np.outer(offset, t)) @ (np.exp(-np.outer(s, offset)) * weight[:, None])
    kernel = (weight.sum() - decayed) / (2 * np.pi)
    kernel = (kernel + kernel.T) / 2
    signed = np.abs(np.arange(1 - reach, reach))
    table = kernel[-1, -1] + 1 - kernel[signed[:, None], signed]
    table.setflags(write=False)
    return table
