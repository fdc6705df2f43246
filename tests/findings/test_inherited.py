"""What objects take over of the radiograph about its pixels: loss, burned-in text, spacing, their shape."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from tests.findings.conftest import read
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.objects import make_objects


@pytest.mark.parametrize(("burned", "lossy"), [("YES", "01"), ("NO", "00"), (None, None)])
def test_what_the_pixels_went_through_is_inherited(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray, burned: str | None, lossy: str | None
) -> None:
    def change(dataset: FileDataset) -> None:
        for keyword in ("BurnedInAnnotation", *LOSSY):
            del dataset[keyword]
        if burned is not None:
            dataset.BurnedInAnnotation, dataset.LossyImageCompression = burned, lossy
        if lossy == "01":
            dataset.LossyImageCompressionRatio, dataset.LossyImageCompressionMethod = [4, 2], ["ISO_10918_1"] * 2

    path = write(change)
    source = pydicom.dcmread(path)
    files = read(make_objects(path, flagged, provenance, ["sc", "seg", "seg_fractional"], picture=picture))
    for kind, dataset in files.items():
        assert dataset.get("BurnedInAnnotation") == burned, kind
        if lossy is not None or kind == "sc":  # of a segmentation the element must be there
            for keyword in LOSSY:
                assert dataset.get(keyword) == source.get(keyword), (kind, keyword)


LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def test_a_spacing_is_passed_on_only_if_it_is_calibrated(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    def calibrate(dataset: FileDataset) -> None:
        dataset.PixelSpacing, dataset.PixelSpacingCalibrationType = [0.5, 0.25], "GEOMETRY"

    alone = write(lambda dataset: setattr(dataset, "PixelSpacing", [0.5, 0.25]))
    assert "PixelSpacing" not in read(make_objects(alone, flagged, provenance, ["sc"], picture=picture))["sc"]
    made = read(make_objects(write(calibrate), flagged, provenance, ["sc"], picture=picture))["sc"]
    assert made.PixelSpacing == [0.5, 0.25]
    assert made.PixelSpacingCalibrationType == "GEOMETRY"


@pytest.mark.parametrize("kind", ["GEOMETRY", "uncalibrated", "detector", "ratio"])
def test_pixels_that_are_no_squares_are_shown_as_they_are(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray, kind: str
) -> None:
    def change(dataset: FileDataset) -> None:
        del dataset.ImagerPixelSpacing
        if kind == "detector":
            dataset.ImagerPixelSpacing = [0.2, 0.4]
        elif kind == "ratio":
            dataset.PixelAspectRatio = [1, 2]
        else:
            dataset.PixelSpacing = [0.2, 0.4]
        if kind == "GEOMETRY":
            dataset.PixelSpacingCalibrationType = kind

    made = read(make_objects(write(change), flagged, provenance, ["gsps", "sc", "seg"], picture=picture))
    (area,) = made["gsps"].DisplayedAreaSelectionSequence
    assert area.PresentationPixelAspectRatio == [1, 2]
    assert made["seg"].PixelAspectRatio == [1, 2]
    assert made["sc"].get("PixelAspectRatio") == (None if kind == "GEOMETRY" else [1, 2])
    assert made["sc"].get("PixelSpacing") == ([0.2, 0.4] if kind == "GEOMETRY" else None)


def test_square_pixels_have_no_ratio(write, flagged: Finding, provenance: Provenance, picture: np.ndarray) -> None:
    path = write(lambda dataset: setattr(dataset, "ImagerPixelSpacing", [0.2, 0.2]))
    files = read(make_objects(path, flagged, provenance, ["gsps", "sc", "seg"], picture=picture))
    assert files["gsps"].DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio == [1, 1]
    assert "PixelAspectRatio" not in files["sc"]
    assert "PixelAspectRatio" not in files["seg"]


def test_an_encoding_that_loses_is_told_though_the_header_does_not(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    def change(dataset: FileDataset) -> None:
        buffer = io.BytesIO()
        Image.fromarray((dataset.pixel_array >> 4).astype(np.uint8)).save(buffer, format="JPEG", quality=80)
        dataset.PixelData = encapsulate([buffer.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.LossyImageCompression = "00"

    path = write(change)
    for kind, dataset in read(make_objects(path, flagged, provenance, ["sc", "seg"], picture=picture)).items():
        assert dataset.LossyImageCompression == "01", kind
        assert dataset.LossyImageCompressionMethod == "ISO_10918_1"
        assert float(dataset.LossyImageCompressionRatio) == pytest.approx(240 * 160 / path.stat().st_size, rel=0.01)
