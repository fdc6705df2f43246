"""Presentation states: that they show the radiograph as it was scored."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset

from tests.findings.conftest import read
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.objects import make_objects


@pytest.mark.parametrize(("monochrome1", "shape"), [(False, "IDENTITY"), (True, "INVERSE")])
def test_the_presentation_state_shows_the_radiograph_as_its_file_does(
    write, flagged: Finding, provenance: Provenance, monochrome1: bool, shape: str
) -> None:
    def windows(dataset: FileDataset) -> None:
        dataset.WindowCenter, dataset.WindowWidth = [2000, 100], [3000, 10]
        dataset.WindowCenterWidthExplanation = ["Thorax", "Bone"]

    path = write(windows, monochrome1=monochrome1)
    state = read(make_objects(path, flagged, provenance, ["gsps"], picture=None))["gsps"]
    assert state.PresentationLUTShape == shape
    (voi,) = state.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth) == (2000, 3000)
    assert state.RescaleSlope == 1


@pytest.mark.parametrize(
    ("window", "centre", "width", "function"),
    [("none", 2047.5, 4095, "LINEAR_EXACT"), ("Bone", 100, 10, "LINEAR")],
)
def test_the_presentation_state_shows_the_window_that_was_scored(
    write, flagged: Finding, provenance: Provenance, window: str, centre: float, width: float, function: str
) -> None:
    def windows(dataset: FileDataset) -> None:
        dataset.WindowCenter, dataset.WindowWidth = [2000, 100], [3000, 10]
        dataset.WindowCenterWidthExplanation = ["Thorax", "Bone"]

    made = make_objects(write(windows), flagged, provenance, ["gsps"], picture=None, window=window)
    (voi,) = read(made)["gsps"].SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth) == (centre, width)
    assert voi.get("VOILUTFunction", "LINEAR") == function


def test_the_presentation_state_of_a_file_without_a_window_has_its_percentiles(
    write, flagged: Finding, provenance: Provenance, radiograph: np.ndarray
) -> None:
    def bare(dataset: FileDataset) -> None:
        del dataset.WindowCenter, dataset.WindowWidth

    state = read(make_objects(write(bare), flagged, provenance, ["gsps"], picture=None))["gsps"]
    (voi,) = state.SoftcopyVOILUTSequence
    low, high = np.percentile(np.rint(radiograph * 4095), (0.5, 99.5))
    assert (voi.WindowCenter, voi.WindowWidth) == pytest.approx(((low + high) / 2, high - low))
    assert voi.VOILUTFunction == "LINEAR_EXACT"


def test_the_presentation_state_shows_the_lut_of_that_name(write, flagged: Finding, provenance: Provenance) -> None:
    def tables(dataset: FileDataset) -> None:
        dataset.VOILUTSequence = [Dataset(), Dataset()]
        for item, name, top in zip(dataset.VOILUTSequence, ("one", "two"), (1000, 4095), strict=True):
            item.LUTDescriptor, item.LUTExplanation = [16, 0, 12], name
            item.add_new("LUTData", "US", [0] * 15 + [top])

    path = write(tables)
    for window, top in (("first", 1000), ("one", 1000), ("two", 4095)):
        made = make_objects(path, flagged, provenance, ["gsps"], picture=None, window=window)
        (voi,) = read(made)["gsps"].SoftcopyVOILUTSequence
        assert "WindowCenter" not in voi
        (item,) = voi.VOILUTSequence
        assert item.LUTDescriptor == [16, 0, 16]
        assert np.frombuffer(item.LUTData, "<u2")[15] == round(top / 4095 * 65535)
