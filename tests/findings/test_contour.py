"""Outlines run along the edges of pixels: no half pixel off, nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from scipy import ndimage

from vitad_med.findings import contour
from vitad_med.findings.contour import outer_contour, simplified


def area(polygon: np.ndarray) -> float:
    """Shoelace; positive for clockwise on screen, where rows grow downwards."""
    x, y = polygon.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def painted(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie within."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    return Outline(np.concatenate([polygon, polygon[:1]])).contains_points(centres).reshape(shape)


def blob(seed: int, shape: tuple[int, int] = (60, 90)) -> np.ndarray:
    """The largest region of smoothed noise, its holes filled."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    labels, _ = ndimage.label(noise > 0.01, structure=np.ones((3, 3)))
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return ndimage.binary_fill_holes(largest)


def test_a_pixel_is_the_square_from_its_top_left_to_its_bottom_right_corner() -> None:
    mask = np.zeros((3, 5), dtype=bool)
    mask[1, 3] = True
    assert outer_contour(mask).tolist() == [[3, 1], [4, 1], [4, 2], [3, 2]]


def test_the_whole_picture_ends_at_columns_and_rows() -> None:
    assert outer_contour(np.ones((4, 7), dtype=bool)).tolist() == [[0, 0], [7, 0], [7, 4], [0, 4]]


def test_regions_that_meet_at_a_corner_have_one_outline() -> None:
    assert area(outer_contour(np.array([[1, 0], [0, 1]], dtype=bool))) == 2
    assert area(outer_contour(np.array([[0, 1], [1, 0]], dtype=bool))) == 2


@pytest.mark.parametrize("seed", range(5))
def test_the_outline_holds_exactly_its_pixels(seed: int) -> None:
    mask = blob(seed)
    polygon = outer_contour(mask)
    assert area(polygon) == mask.sum()
    np.testing.assert_array_equal(painted(polygon, mask.shape), mask)


def test_a_hole_belongs_to_the_outline() -> None:
    mask = np.ones((5, 5), dtype=bool)
    mask[2, 2] = False
    assert area(outer_contour(mask)) == 25


@pytest.mark.parametrize("seed", range(5))
def test_a_simplified_outline_keeps_within_a_pixel(seed: int) -> None:
    mask = blob(seed)
    polygon = outer_contour(mask)
    short = simplified(polygon)
    assert len(short) < len(polygon) / 3
    assert 0.9 < area(short) / area(polygon) < 1.1
    edge = ndimage.distance_transform_edt(np.pad(mask, 2)) + ndimage.distance_transform_edt(~np.pad(mask, 2))
    wrong = painted(short, mask.shape) != mask
    # The distance of a pixel to the nearest of the other kind is 1 at the edge.
    assert edge[2:-2, 2:-2][wrong].max(initial=0) <= 2


def test_a_rectangle_keeps_its_corners() -> None:
    corners = np.array([[2.0, 1.0], [9.0, 1.0], [9.0, 5.0], [2.0, 5.0]])
    assert simplified(corners).tolist() == corners.tolist()


def test_an_outline_never_has_more_points_than_an_element_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    polygon = outer_contour(blob(0))
    monkeypatch.setattr(contour, "MOST_POINTS", 8)
    assert 3 <= len(simplified(polygon)) <= 8
