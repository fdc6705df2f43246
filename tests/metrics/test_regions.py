"""Components, rectangles and unions of bounding boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label, regionprops

from vitad_med.data.case import Box, box_mask
from vitad_med.errors import DataError
from vitad_med.metrics.regions import covered_by_bounding_boxes, grid_rectangle, mask_regions


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.0, 0.6))
def test_components_and_their_boxes_equal_scikit_image(seed: int, density: float) -> None:
    mask = np.random.default_rng(seed).random((11, 9)) < density
    labels = label(mask, connectivity=2)
    regions = mask_regions(mask)
    assert regions.shape == (labels.max(), 11, 9)
    assert {r.tobytes() for r in regions} == {(labels == k).tobytes() for k in range(1, labels.max() + 1)}
    union = np.zeros_like(mask)
    for region in regionprops(labels):
        y0, x0, y1, x1 = region.bbox
        union[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(covered_by_bounding_boxes(mask), union)


fraction = st.floats(-0.2, 1.1)


@settings(deadline=None)
@given(fraction, fraction, st.floats(0.001, 0.9), st.floats(0.001, 0.9), st.sampled_from([7, 56, 224]))
def test_rectangles_mark_the_pixels_of_the_box_mask(x: float, y: float, width: float, height: float, size: int) -> None:
    if x + width <= 0 or x >= 1 or y + height <= 0 or y >= 1:
        with pytest.raises(DataError, match="covers nothing"):
            grid_rectangle(x, y, width, height, size)
        return
    y0, y1, x0, x1 = grid_rectangle(x, y, width, height, size)
    assert 0 <= y0 < y1 <= size
    assert 0 <= x0 < x1 <= size
    mask = box_mask((Box(x, y, width, height),), size, size)
    if mask.any():
        expected = np.zeros_like(mask)
        expected[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(mask, expected)


def test_a_box_between_two_pixel_centres_takes_the_pixel_of_its_own_centre() -> None:
    assert grid_rectangle(0.26, 0.0, 0.02, 1.0, 4) == (0, 4, 1, 2)
    assert grid_rectangle(0.99, 0.99, 0.5, 0.5, 4) == (3, 4, 3, 4)
    with pytest.raises(DataError, match="covers nothing"):
        grid_rectangle(float("nan"), 0.0, 0.1, 0.1, 4)
    with pytest.raises(DataError, match=r"\[H, W\]"):
        mask_regions(np.zeros((1, 2, 3)))
