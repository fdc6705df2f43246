"""The one intensity normalisation."""

from __future__ import annotations

import numpy as np
import pytest

from vitad_med.data.intensity import from_unit_range, to_unit_range


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_full_range_is_linear_and_reversible(dtype: type) -> None:
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    unit = to_unit_range(levels)
    assert unit.dtype == np.float32
    assert (unit[0], unit[-1]) == (0, 1)
    np.testing.assert_allclose(unit, np.linspace(0, 1, len(levels)), atol=1e-7)
    np.testing.assert_array_equal(from_unit_range(unit, dtype), levels)


def test_an_images_own_range_changes_nothing() -> None:
    dark = np.array([[10, 20]], np.uint8)
    np.testing.assert_allclose(to_unit_range(dark), [[10 / 255, 20 / 255]], rtol=1e-6)


def test_windowed_values_pass_and_others_do_not() -> None:
    windowed = np.array([0.0, 0.25, 1.0])
    np.testing.assert_array_equal(to_unit_range(windowed), windowed)
    for bad in (np.array([1.5]), np.array([-0.1]), np.array([np.nan])):
        with pytest.raises(ValueError, match=r"0\.\.1"):
            to_unit_range(bad)
    with pytest.raises(TypeError, match="int32"):
        to_unit_range(np.zeros(3, np.int32))


def test_quantising_clips() -> None:
    np.testing.assert_array_equal(from_unit_range(np.array([-1.0, 0.5, 2.0]), np.uint8), [0, 128, 255])
