"""The two matrices equal torch's bilinear interpolation and scipy's Gaussian filter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from vitad_med.normality.smoothing import smooth_map


@pytest.mark.parametrize("sigma", [0.0, 4.0, 1.5])
@pytest.mark.parametrize(("grid", "size"), [((14, 14), (224, 224)), ((3, 5), (48, 31)), ((28, 28), (14, 28))])
def test_equals_interpolation_and_filter(grid: tuple[int, int], size: tuple[int, int], sigma: float) -> None:
    distances = torch.rand(2, 1, *grid) * 9
    found = smooth_map(distances, size, sigma)
    assert found.shape == (2, 1, *size)
    up = torch.nn.functional.interpolate(distances, size=size, mode="bilinear", align_corners=False)
    for b in range(2):
        expected = gaussian_filter(up[b, 0].double().numpy(), sigma) if sigma else up[b, 0].numpy()
        np.testing.assert_allclose(found[b, 0].numpy(), expected, atol=1e-4)


def test_values_stay_between_the_distances() -> None:
    distances = torch.rand(1, 1, 7, 7)
    found = smooth_map(distances, (224, 224), 4.0)
    assert float(distances.min()) - 1e-6 <= float(found.min()) <= float(found.max()) <= float(distances.max()) + 1e-6
    constant = smooth_map(torch.full((1, 1, 7, 7), 3.0), (56, 56), 4.0)
    torch.testing.assert_close(constant, torch.full_like(constant, 3.0))
