"""IoU and IoBB against scikit-learn, scikit-image and counting pixels one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label, regionprops
from sklearn.metrics import jaccard_score

from vitad_med.errors import DataError
from vitad_med.metrics.overlap import overlaps


def counted_iobb(image: np.ndarray, mask: np.ndarray, threshold: float) -> float:
    detected = set()
    for region in regionprops(label(image >= threshold, connectivity=2)):
        y0, x0, y1, x1 = region.bbox
        detected |= {(y, x) for y in range(y0, y1) for x in range(x0, x1)}
    return sum(bool(mask[pixel]) for pixel in detected) / len(detected) if detected else 0.0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.5, 0.8, 0.97, 2.0]))
def test_equals_scikit_learn_and_counting(seed: int, threshold: float) -> None:
    generator = np.random.default_rng(seed)
    maps, masks = generator.random((3, 9, 12)), generator.random((3, 9, 12)) < 0.3
    found = overlaps(maps, masks, [threshold])
    for i in range(3):
        expected = jaccard_score(masks[i].ravel(), (maps[i] >= threshold).ravel(), zero_division=0.0)
        assert found.iou[0, i] == pytest.approx(expected, abs=1e-12)
        assert found.iobb[0, i] == pytest.approx(counted_iobb(maps[i], masks[i], threshold), abs=1e-12)


def test_known_values_at_several_thresholds_in_one_pass() -> None:
    mask = np.zeros((1, 10, 10), dtype=bool)
    mask[0, 2:8, 2:8] = True
    image = np.zeros((1, 10, 10))
    image[0, 3, 3] = image[0, 4, 4] = 2.0  # joined through the diagonal: their box has four pixels
    image[0, 9, 9] = 1.0
    found = overlaps(image, mask, [2.0, 1.0, 3.0, 0.0])
    np.testing.assert_allclose(found.iou[:, 0], [2 / 36, 2 / 37, 0, 0.36])
    np.testing.assert_allclose(found.iobb[:, 0], [1, 4 / 5, 0, 0.36])


def test_a_map_equal_to_a_rectangular_truth_scores_one_and_transforms_do_not_matter() -> None:
    generator = np.random.default_rng(0)
    masks = np.zeros((4, 16, 16), dtype=bool)
    for mask in masks:
        y, x = generator.integers(0, 8, 2)
        mask[y : y + 5, x : x + 7] = True
    truth = overlaps(masks.astype(np.float32), masks, [0.5])
    assert (truth.iou == 1).all()
    assert (truth.iobb == 1).all()
    maps = generator.normal(size=masks.shape)
    plain, moved = overlaps(maps, masks, [0.0, 1.0]), overlaps(np.exp(maps), masks, [1.0, np.e])
    np.testing.assert_array_equal(plain.iou, moved.iou)
    np.testing.assert_array_equal(plain.iobb, moved.iobb)


def test_boxes_that_overlap_count_once() -> None:
    image = np.zeros((1, 8, 8))
    # An L around a separate pixel: the box of the pixel lies inside that of the L.
    image[0, 0:6, 0] = image[0, 5, 0:6] = 1
    image[0, 1, 4] = 1
    mask = np.zeros((1, 8, 8), dtype=bool)
    mask[0, :3] = True
    assert overlaps(image, mask, [1.0]).iobb[0, 0] == pytest.approx(18 / 36)


def test_no_detection_is_zero_no_truth_or_threshold_is_nan() -> None:
    maps, masks = np.ones((2, 4, 4)), np.zeros((2, 4, 4), dtype=np.uint8)
    masks[0, 1, 1] = 1
    found = overlaps(maps, masks, [2.0, np.nan])
    np.testing.assert_array_equal(found.iou, [[0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(found.iobb, found.iou)
    nothing = overlaps([], [], [1.0, 2.0])
    assert nothing.iou.shape == nothing.iobb.shape == (2, 0)


def test_wrong_input() -> None:
    maps, masks = np.zeros((2, 4, 4)), np.zeros((2, 4, 4))
    with pytest.raises(DataError, match="more masks than 1"):
        overlaps(maps[:1], masks, [0.5])
    with pytest.raises(DataError, match="shape"):
        overlaps(maps, masks[:, :3], [0.5])
    with pytest.raises(DataError, match="other than 0 and 1"):
        overlaps(maps, masks + 2, [0.5])
    maps[1, 0, 0] = np.inf
    with pytest.raises(DataError, match="map 1: 1 of 16"):
        overlaps(iter(maps), iter(masks), [0.5])
