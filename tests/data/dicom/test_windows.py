"""Windows, VOI LUTs and percentiles against pydicom, numpy and the printed formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_voi, apply_windowing
from pydicom.uid import ExplicitVRLittleEndian

from vitad_med.data.dicom.windows import FIRST, Table, Window, choose, percentile_window, percentiles
from vitad_med.errors import ConfigError, DataError

VALUES = np.arange(4096, dtype=np.float64)
ONCE = np.ones(4096, dtype=np.int64)
FULL = (0.0, 4095.0)


def dataset(**values: Any) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.BitsStored, made.BitsAllocated, made.PixelRepresentation = 12, 16, 0
    made.PhotometricInterpretation, made.Rows, made.Columns, made.SamplesPerPixel = "MONOCHROME2", 64, 64, 1
    for name, value in values.items():
        setattr(made, name, value)
    return made


def table(entries: list[int], first: int = 0, bits: int = 12, name: str = "") -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.add_new(0x00283006, "US", entries)
    item.LUTExplanation = name
    return item


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2048, 4096), (1000.5, 300), (3000, 2), (-50, 900)])
def test_windows_equal_pydicoms(function: str, centre: float, width: float) -> None:
    made = dataset(WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    expected = apply_windowing(VALUES.astype(np.int16).reshape(64, 64), made) / 4095
    voi = choose(made, FIRST, VALUES, ONCE, FULL)
    np.testing.assert_allclose(voi(VALUES), expected.reshape(-1), atol=1e-9)


def test_a_window_of_width_one_is_a_threshold() -> None:
    found = Window(100, 1)(np.array([99.0, 99.5, 99.6, 100.0]))
    assert found.tolist() == [0, 0, 1, 1]


def test_a_voi_lut_equals_pydicoms_and_comes_before_windows() -> None:
    entries = [int(4095 * (k / 255) ** 2) for k in range(256)]
    made = dataset(WindowCenter=10, WindowWidth=20, VOILUTSequence=[table(entries, 1000, name="curve")])
    expected = apply_voi(VALUES.astype(np.uint16).reshape(64, 64), made) / 4095
    voi = choose(made, FIRST, VALUES, ONCE, FULL)
    assert isinstance(voi, Table)
    assert voi.name == "curve"
    np.testing.assert_allclose(voi(VALUES), expected.reshape(-1), atol=1e-12)


def test_a_lut_begins_at_a_signed_value_where_pixels_are_signed() -> None:
    made = dataset(PixelRepresentation=1, VOILUTSequence=[table([0, 2047, 4095], 2**16 - 1)])
    voi = choose(made, FIRST, VALUES, ONCE, FULL)
    np.testing.assert_allclose(voi(np.array([-5.0, -1, 0, 1, 9])) * 4095, [0, 0, 2047, 4095, 4095])


def test_one_of_several_windows_is_chosen_by_its_name() -> None:
    made = dataset(WindowCenter=[100, 2000], WindowWidth=[50, 900], WindowCenterWidthExplanation=["BONE", "LUNG"])
    assert choose(made, FIRST, VALUES, ONCE, FULL) == Window(100, 50, "LINEAR", "BONE")
    assert choose(made, "LUNG", VALUES, ONCE, FULL) == Window(2000, 900, "LINEAR", "LUNG")
    with pytest.raises(ConfigError, match="window 'lung' is none of the 2 of this file"):
        choose(made, "lung", VALUES, ONCE, FULL)


def test_what_a_file_without_a_window_gets() -> None:
    deep, shallow = dataset(), dataset(BitsStored=8)
    assert choose(deep, FIRST, VALUES, ONCE, FULL) == percentile_window(VALUES, ONCE)
    assert choose(shallow, FIRST, VALUES, ONCE, (0.0, 255.0))(np.array([0.0, 51, 255])).tolist() == [0, 0.2, 1]
    assert choose(deep, "none", VALUES, ONCE, FULL)(np.array([0.0, 4095])).tolist() == [0, 1]
    windowed = dataset(WindowCenter=10, WindowWidth=20)
    assert choose(windowed, "percentile", VALUES, ONCE, FULL) == percentile_window(VALUES, ONCE)


def test_a_range_that_is_none_matters_to_those_who_ask_for_it() -> None:
    """RescaleSlope 0 gives such a range; a window of the file's own does not look at it."""
    nothing = (5.0, 5.0)
    chosen = choose(dataset(WindowCenter=550, WindowWidth=1024), FIRST, VALUES, ONCE, nothing)
    assert (chosen.centre, chosen.width) == (550, 1024)  # type: ignore[union-attr]
    with pytest.raises(DataError, match="width 0"):
        choose(dataset(), "none", VALUES, ONCE, nothing)


def test_percentiles_of_counts_are_numpys() -> None:
    rng = np.random.default_rng(0)
    values, counts = rng.normal(size=40) * 100, rng.integers(1, 30, 40)
    shares = (0, 0.5, 12.3, 50, 99.5, 100)
    expected = np.percentile(np.repeat(values, counts), shares)
    np.testing.assert_allclose(percentiles(values, counts, shares), expected, rtol=1e-12)


def test_an_image_of_one_value_is_the_middle() -> None:
    window = percentile_window(np.array([7.0]), np.array([100]))
    assert window(np.array([7.0])).tolist() == [0.5]
    # Two values of which one is rarer than the percentile.
    window = percentile_window(np.array([7.0, 9.0]), np.array([10_000, 1]))
    assert window(np.array([7.0, 9.0])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"WindowCenter": 10, "WindowWidth": 0}, "centre 10 and width 0 is none"),
        ({"WindowCenter": 10, "WindowWidth": -5, "VOILUTFunction": "SIGMOID"}, "width -5 is none"),
        ({"WindowCenter": 10, "WindowWidth": 5, "VOILUTFunction": "CUBIC"}, "VOI LUT function is unknown"),
        ({"VOILUTSequence": [Dataset()]}, "VOI LUT is incomplete"),
    ],
)
def test_windows_that_are_none_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose(dataset(**values), FIRST, VALUES, ONCE, FULL)


def test_a_lut_of_fewer_entries_than_announced_is_refused() -> None:
    item = table([1, 2, 3])
    item.LUTDescriptor = [300, 0, 12]
    with pytest.raises(DataError, match="has 3 entries of 12 bits where 300 are announced"):
        choose(dataset(VOILUTSequence=pydicom.Sequence([item])), FIRST, VALUES, ONCE, FULL)
