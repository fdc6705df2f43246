"""Poisson blending against a sparse direct solve that is assembled from the definition, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import spsolve

from vitad_med.errors import ConfigError
from vitad_med.synthesis import poisson_blend
from vitad_med.synthesis.dst import MATRIX_LIMIT, solve_rectangle
from vitad_med.synthesis.lattice import green_table
from vitad_med.synthesis.patch import _region
from vitad_med.synthesis.poisson import Gradients, solve_region
from vitad_med.synthesis.poisson_torch import RectangleSolver, poisson_change_batch

GRADIENTS: tuple[Gradients, ...] = ("source", "mixed")
NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))


def reference_blend(
    image: np.ndarray, patch: np.ndarray, top: int, left: int, region: np.ndarray, gradients: Gradients
) -> np.ndarray:
    """Equation 7 of Perez et al. for the values themselves: one row per pixel, known neighbours on the right."""
    pixels = [(int(i), int(j)) for i, j in np.argwhere(region)]
    number = {pixel: k for k, pixel in enumerate(pixels)}
    matrix = sparse.lil_matrix((len(pixels), len(pixels)))
    right = np.zeros(len(pixels))
    for (i, j), k in number.items():
        matrix[k, k] = 4
        for di, dj in NEIGHBOURS:
            p, q = (top + i, left + j), (top + i + di, left + j + dj)
            guide = patch[i + 1, j + 1] - patch[i + 1 + di, j + 1 + dj]
            own = image[p] - image[q]
            right[k] += own if gradients == "mixed" and abs(own) >= abs(guide) else guide
            if (i + di, j + dj) in number:
                matrix[k, number[(i + di, j + dj)]] = -1
            else:
                right[k] += image[q]
    blended = image.copy()
    blended[top : top + region.shape[0], left : left + region.shape[1]][region] = spsolve(matrix.tocsc(), right)
    return blended


def laplacian(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, 1)
    return 4 * values - padded[:-2, 1:-1] - padded[2:, 1:-1] - padded[1:-1, :-2] - padded[1:-1, 2:]


def turned(height: int, width: int, angle: float) -> np.ndarray:
    region = _region(height, width, angle)[2]
    return np.ones((height, width), dtype=bool) if region is None else region


@pytest.mark.parametrize("gradients", GRADIENTS)
@pytest.mark.parametrize(("height", "width", "angle"), [(17, 24, 0.0), (1, 9, 0.0), (22, 15, 31.0), (4, 26, -57.0)])
def test_blend_equals_sparse_direct_solve(height: int, width: int, angle: float, gradients: Gradients) -> None:
    generator = np.random.default_rng(0)
    region = turned(height, width, angle)
    image = generator.random((60, 64))
    patch = generator.random((region.shape[0] + 2, region.shape[1] + 2))
    expected = reference_blend(image, patch, 9, 5, region, gradients)
    blended = poisson_blend(image, patch, 9, 5, None if angle == 0 else region, gradients)
    assert np.abs(blended - expected).max() < 1e-11
    outside = np.ones(image.shape, dtype=bool)
    outside[9 : 9 + region.shape[0], 5 : 5 + region.shape[1]] = ~region
    assert np.array_equal(blended[outside], image[outside])
    assert (blended[~outside] != image[~outside]).all()


def test_region_of_any_shape_with_holes_and_islands() -> None:
    generator = np.random.default_rng(3)
    region = generator.random((21, 30)) < 0.6
    image, patch = generator.random((40, 40)), generator.random((23, 32))
    expected = reference_blend(image, patch, 4, 6, region, "mixed")
    assert np.abs(poisson_blend(image, patch, 4, 6, region, "mixed") - expected).max() < 1e-11


def test_full_region_agrees_with_the_box_solve() -> None:
    right_side = np.random.default_rng(1).normal(size=(2, 30, 41))
    solved = solve_region(right_side, np.ones((30, 41), dtype=bool))
    np.testing.assert_allclose(solved, solve_rectangle(right_side), atol=1e-12)


@pytest.mark.parametrize("height", [3, 90, MATRIX_LIMIT, MATRIX_LIMIT + 30])
def test_rectangle_residual_on_both_sides_of_the_transform_switch(height: int) -> None:
    right_side = np.random.default_rng(2).normal(size=(height, 77))
    assert np.abs(laplacian(solve_rectangle(right_side)) - right_side).max() < 1e-10


def test_large_turned_region_residual() -> None:
    region = turned(150, 170, 40.0)
    right_side = np.random.default_rng(2).normal(size=region.shape)
    solved = solve_region(right_side, region)
    assert np.abs(laplacian(solved) - right_side)[region].max() < 1e-9
    assert not solved[~region].any()


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(3, 40),
    width=st.integers(3, 40),
    angle=st.floats(-90, 90),
    seed=st.integers(0, 2**32 - 1),
)
def test_residual_of_any_turned_rectangle(height: int, width: int, angle: float, seed: int) -> None:
    region = turned(height, width, angle)
    right_side = np.random.default_rng(seed).normal(size=region.shape)
    solved = solve_region(right_side, region)
    assert np.abs(laplacian(solved) - right_side)[region].max() < 1e-10


def test_blending_a_patch_onto_itself_changes_nothing_visible() -> None:
    image = np.random.default_rng(4).random((50, 50))
    blended = poisson_blend(image, image[9:32, 4:40].copy(), 10, 5)
    np.testing.assert_allclose(blended, image, atol=1e-13)


def test_constant_offset_of_the_patch_has_no_effect() -> None:
    generator = np.random.default_rng(5)
    image, patch = generator.random((3, 40, 40)), generator.random((3, 20, 22))
    blended = poisson_blend(image, patch, 6, 7)
    np.testing.assert_allclose(poisson_blend(image, patch + 0.3, 6, 7), blended, atol=1e-12)


def test_float32_image_keeps_its_type() -> None:
    generator = np.random.default_rng(6)
    image = generator.random((1, 40, 40), dtype=np.float32)
    assert poisson_blend(image, generator.random((1, 12, 12)), 3, 3).dtype == np.float32


def test_misplaced_patch_and_unknown_guide_are_refused() -> None:
    image = np.zeros((20, 20))
    with pytest.raises(ValueError, match="margin"):
        poisson_blend(image, np.zeros((7, 7)), 0, 4)
    with pytest.raises(ValueError, match="margin"):
        poisson_blend(image, np.zeros((7, 7)), 15, 4)
    with pytest.raises(ValueError, match="does not fit"):
        poisson_blend(image, np.zeros((7, 7)), 3, 4, np.ones((4, 4), dtype=bool))
    with pytest.raises(ConfigError, match="gradients: 'stronger'"):
        poisson_blend(image, np.zeros((7, 7)), 3, 4, None, "stronger")  # type: ignore[arg-type]


def test_lattice_green_function_is_the_potential_of_one_charge() -> None:
    table = green_table(64)
    charge = laplacian(table)[1:-1, 1:-1]
    expected = np.zeros_like(charge)
    expected[62, 62] = 1
    np.testing.assert_allclose(charge, expected, atol=1e-11)
    # Known values of the potential kernel: a(1, 0) = 1/4, a(1, 1) = 1/pi.
    assert table[63, 63] - table[63, 64] == pytest.approx(1 / 4, abs=1e-12)
    assert table[63, 63] - table[64, 64] == pytest.approx(1 / np.pi, abs=1e-12)


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (12.0, -80.0, 45.0)])
@pytest.mark.parametrize("gradients", GRADIENTS)
def test_batched_torch_solves_patches_of_different_sizes_exactly(
    angles: tuple[float, ...], gradients: Gradients
) -> None:
    generator = np.random.default_rng(7)
    regions = [turned(*size, angle) for size, angle in zip([(30, 12), (3, 41), (25, 25)], angles, strict=True)]
    sizes = [region.shape for region in regions]
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    windows, patches = generator.random((2, 3, 2, height + 2, width + 2))
    change = poisson_change_batch(
        torch.from_numpy(windows),
        torch.from_numpy(patches),
        sizes,
        [region if any(angles) else None for region in regions],
        gradients,
    )
    for k, region in enumerate(regions):
        h, w = region.shape
        for channel in range(2):
            image, patch = windows[k, channel, : h + 2, : w + 2], patches[k, channel, : h + 2, : w + 2]
            expected = reference_blend(image, patch, 1, 1, region, gradients) - image
            assert np.abs(change[k, channel, :h, :w].numpy() - expected[1:-1, 1:-1]).max() < 1e-11
        assert not change[k, :, h:].any()
        assert not change[k, :, :, w:].any()


def test_batched_rectangles_ignore_what_lies_in_the_padding() -> None:
    solver = RectangleSolver([(5, 9), (8, 4)], torch.device("cpu"))
    right_side = torch.rand(2, 1, 8, 9, dtype=torch.float64)
    clean = solver(right_side)
    right_side[0, :, 5:] = 1e6
    right_side[1, :, :, 4:] = -1e6
    assert torch.equal(solver(right_side), clean)
