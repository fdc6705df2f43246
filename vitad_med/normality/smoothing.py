"""From distances on a grid to a map of the image's size: bilinear upsampling and a Gaussian filter.

Both are linear and act on rows and columns apart, so that the two together are one matrix for each axis, made once:
what would be a large convolution of every map is two small matrix products. Results equal
``scipy.ndimage.gaussian_filter`` after bilinear interpolation.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional


def smooth_map(distances: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Upsampled and smoothed map.

    Args:
        distances: [B, 1, h, w].
        size: height and width of the image in pixels.
        sigma: standard deviation of the Gaussian in pixels of the image; 0 smooths nothing. (VISAPP 2023 calls 4 the
            variance.)

    Returns:
        [B, 1, height, width], each value a weighted mean of the distances.
    """
    down, right = (
        _axis(int(cells), pixels, float(sigma)).to(distances)
        for cells, pixels in zip(distances.shape[2:], size, strict=True)
    )
    return down @ distances @ right.mT


@lru_cache(maxsize=32)
def _axis(cells: int, pixels: int, sigma: float) -> Tensor:
    """[pixels, cells], rows sum to 1."""
    unit = torch.eye(cells, dtype=torch.float64)[:, None]
    up = functional.interpolate(unit, size=pixels, mode="linear", align_corners=False)[:, 0].T.contiguous().numpy()
    smoothed = gaussian_filter1d(up, sigma, axis=0, mode="reflect") if sigma else up
    return torch.from_numpy(np.ascontiguousarray(smoothed))
