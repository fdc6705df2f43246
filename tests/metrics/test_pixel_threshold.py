"""Thresholds at pixel false-positive rates against sorting everything."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vitad_med.errors import DataError
from vitad_med.metrics.pixel_threshold import RATES, pixel_thresholds

finite = st.floats(-(2.0**127), 2.0**127, width=32)
few = st.sampled_from([-2.5, -0.0, 0.0, 1e-40, 1.0, 1.0000001, 7.0])


def sorted_threshold(values: np.ndarray, rate: float) -> float:
    """The lowest value that occurs with at most the rate at or above it; just above the highest if there is none."""
    for value in np.unique(values):
        if np.count_nonzero(values >= value) <= rate * values.size:
            return float(value)
    return float(np.nextafter(values.max(), np.float32(np.inf)))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(arrays(np.float32, (3, 4), elements=e) for e in (finite, few)), min_size=1, max_size=8),
    st.lists(st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5, 0.9, 0.999]), min_size=1, max_size=4),
)
def test_equals_sorting_all_pixels(maps: list[np.ndarray], rates: list[float]) -> None:
    values = np.stack(maps)
    for rate, found in zip(rates, pixel_thresholds(maps, rates), strict=True):
        assert found.rate == rate
        assert found.threshold == sorted_threshold(values, rate)
        assert found.achieved == np.mean(values >= np.float32(found.threshold)) <= rate
        assert (found.reason is None) == (found.achieved > 0)


def test_a_rate_of_whole_pixels_is_reached_and_runs_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = np.random.default_rng(0).permutation(3000).reshape(30, 10, 10).astype(np.float32) - 1500
    wanted = pixel_thresholds(maps, (0.01, 0.1, 0.7))
    assert [t.threshold for t in wanted] == [1470, 1200, -600]
    assert [t.achieved for t in wanted] == pytest.approx([0.01, 0.1, 0.7])
    monkeypatch.setattr("vitad_med.metrics.pixel_threshold._RUN", 150)
    assert pixel_thresholds(maps, (0.01, 0.1, 0.7)) == wanted


def test_increasing_transforms_move_the_threshold_along() -> None:
    maps = np.random.default_rng(1).normal(size=(20, 16, 16)).astype(np.float32)
    for plain, moved in zip(pixel_thresholds(maps), pixel_thresholds(maps * 4 + 0), strict=True):
        assert moved.threshold == 4 * plain.threshold
        assert moved.achieved == plain.achieved


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_constant_maps_have_a_threshold_above_them_and_a_reason(value: float) -> None:
    maps = np.full((4, 5, 5), value, dtype=np.float32)
    for found in pixel_thresholds(maps):
        assert found.threshold > value
        assert found.achieved == 0
        assert not (maps >= found.threshold).any()
        assert "share the highest value" in str(found.reason)
    # A fifth of saturated pixels is too many for all three rates, and enough for one half.
    maps[:, 0] = value + 1
    assert [t.achieved for t in pixel_thresholds(maps, (0.1, 0.2, 0.5))] == [0, 0.2, 0.2]


def test_values_that_float32_cannot_hold_never_exceed_the_rate() -> None:
    generator = np.random.default_rng(2)
    maps = 1 + generator.random((10, 20, 20)) * 1e-6
    for found in pixel_thresholds(maps):
        assert np.mean(maps >= found.threshold) <= found.achieved <= found.rate
    small = generator.integers(0, 256, (10, 20, 20)).astype(np.uint8)
    for found in pixel_thresholds(small):
        assert found.threshold == sorted_threshold(small, found.rate)


def test_no_images_bad_values_bad_rates_and_one_way_readers() -> None:
    for found in pixel_thresholds([]):
        assert np.isnan(found.threshold)
        assert np.isnan(found.achieved)
        assert found.reason == "no normal images"
    assert [t.rate for t in pixel_thresholds([np.arange(4.0)])] == list(RATES)
    with pytest.raises(DataError, match=r"map 1: 1 of 4 values are not finite \(1 NaN"):
        pixel_thresholds([np.zeros((2, 2)), np.array([[0, 1], [np.nan, 1]])])
    with pytest.raises(DataError, match=r"rate 10 must lie"):
        pixel_thresholds([np.zeros((2, 2))], [10])
    with pytest.raises(DataError, match="read twice"):
        pixel_thresholds(iter([np.zeros((2, 2))]))


class Changing:
    """Maps that are other ones at every reading."""

    def __init__(self) -> None:
        self.readings = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        self.readings += 1
        return iter([np.full((2, 2), float(self.readings))])


def test_maps_that_change_between_readings_are_refused() -> None:
    with pytest.raises(DataError, match="changed between"):
        pixel_thresholds(Changing())


class Many:
    """200 maps that exist one at a time."""

    def __iter__(self) -> Iterator[np.ndarray]:
        return (np.random.default_rng(seed).random((224, 224), dtype=np.float32) for seed in range(200))


def test_memory_does_not_grow_with_the_number_of_maps() -> None:
    tracemalloc.start()
    found = pixel_thresholds(Many(), [0.1])[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.threshold == pytest.approx(0.9, abs=1e-3)
    assert peak < 15e6, "all maps would take 40 MB, and a sorted copy as much again"
