"""Regions lie where the map is highest, at the radiograph's own geometry."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label, regionprops

from tests.findings.conftest import hot
from vitad_med.errors import ConfigError, DataError
from vitad_med.findings.regions import LEAST_SHARE, find_regions, original_geometry


def test_a_block_at_the_pictures_own_size_is_found_to_the_pixel() -> None:
    (region,) = find_regions(hot(slice(20, 50), slice(100, 130), grid=(240, 160)))
    assert region.box == (20, 50, 100, 130)
    assert region.polygon.tolist() == [[100, 20], [130, 20], [130, 50], [100, 50], [100, 20]]
    assert region.mask.all()
    assert region.area == 900
    assert region.peak == pytest.approx(0.9)


def test_a_block_of_the_networks_grid_lies_at_its_place_in_a_picture_that_is_not_square() -> None:
    shape = (240, 160)
    values = original_geometry(hot(slice(8, 12), slice(20, 26)), shape)
    (region,) = find_regions(values, share=24 / 1024)
    top, bottom, left, right = region.box
    # Of 240 rows and 160 columns: 32 cells of 7.5 by 5 pixels; an interpolated edge is off by less than half a cell.
    assert (top, bottom) == pytest.approx((60, 90), abs=3.75)
    assert (left, right) == pytest.approx((100, 130), abs=2.5)
    assert ((top + bottom) / 2, (left + right) / 2) == pytest.approx((75, 115), abs=1)


def test_no_more_than_the_share_is_taken_and_nearly_all_of_it() -> None:
    values = np.random.default_rng(1).random((240, 160), dtype=np.float32)
    smooth = original_geometry(values[:12, :8], (240, 160))
    for share in (0.01, 0.05, 0.3, 0.7):
        taken = sum(region.area for region in find_regions(smooth, share))
        specks = 200 * LEAST_SHARE * smooth.size
        assert share * smooth.size - specks < taken <= share * smooth.size


def test_regions_are_those_of_sorted_values_labelled_by_another_library() -> None:
    generator = np.random.default_rng(2)
    for values in (
        generator.random((97, 61)).astype(np.float32),
        generator.integers(0, 5, (97, 61)).astype(np.float32),
        np.sort(generator.exponential(size=97 * 61)).reshape(97, 61).astype(np.float32),
    ):
        for share in (0.001, 0.05, 0.6, 0.999):
            taken = int(share * values.size)
            limit = np.sort(values.ravel())[-taken - 1]
            marked = values > limit if limit < values.max() else values == values.max()
            labels = label(marked, connectivity=2)
            large = [one.label for one in regionprops(labels) if one.area >= LEAST_SHARE * values.size]
            expected = np.isin(labels, large or [labels.ravel()[values.argmax()]])
            painted = np.zeros(values.shape, dtype=bool)
            for region in find_regions(values, share):
                top, bottom, left, right = region.box
                painted[top:bottom, left:right] |= region.mask
            np.testing.assert_array_equal(painted, expected)


def test_specks_are_dropped_but_a_lone_one_stays() -> None:
    values = hot(slice(10, 30), slice(10, 30), grid=(200, 200))
    values[100, 100] = 0.95
    (region,) = find_regions(values)
    assert region.box == (10, 30, 10, 30)
    values[10:30, 10:30] = 0.1
    (speck,) = find_regions(values)
    assert speck.box == (100, 101, 100, 101)


def test_the_highest_peak_comes_first() -> None:
    values = hot(slice(10, 30), slice(10, 30), grid=(200, 200))
    values[100:120, 100:120] = 0.95
    assert [region.peak for region in find_regions(values)] == pytest.approx([0.95, 0.9])


def test_a_plateau_larger_than_the_share_is_one_region() -> None:
    (region,) = find_regions(hot(slice(0, 100), slice(0, 200), grid=(200, 200)))
    assert region.box == (0, 100, 0, 200)


def test_a_constant_map_has_no_region() -> None:
    assert find_regions(np.full((50, 40), 0.7, dtype=np.float32)) == []


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_out_of_its_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="region_share"):
        find_regions(np.eye(20, dtype=np.float32), share)


@pytest.mark.parametrize("broken", [np.full((4, 4), np.nan), np.zeros((0, 4)), np.zeros((1, 4, 4))])
def test_a_map_that_is_none_is_refused(broken: np.ndarray) -> None:
    with pytest.raises(DataError, match="finite numbers"):
        original_geometry(broken.astype(np.float32), (20, 20))
