"""Every kind made of every sort of source, before the checkers of two other toolkits."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from tests.findings.test_source import NAMES, put_name
from vitad_med.data.dicom.codes import CR, SECONDARY_CAPTURE
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.objects import KINDS, make_objects
from vitad_med.site.key import SiteKey

pytestmark = pytest.mark.slow


def as_class(dataset: FileDataset, sop_class: str) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.Modality = "CR"
    if sop_class == SECONDARY_CAPTURE:
        dataset.ConversionType = "DI"


def lossy(dataset: FileDataset) -> None:
    """JPEG baseline, 8 bits."""
    buffer = io.BytesIO()
    pixels = (dataset.pixel_array >> 4).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=80)
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.LossyImageCompression, dataset.LossyImageCompressionRatio = "01", [4, 7.5]
    dataset.LossyImageCompressionMethod = ["ISO_10918_1", "ISO_10918_1"]


def lossy_unsaid(dataset: FileDataset) -> None:
    """JPEG baseline whose header does not say that it lost anything."""
    lossy(dataset)
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        delattr(dataset, keyword)


def oblong(dataset: FileDataset) -> None:
    dataset.ImagerPixelSpacing = [0.2, 0.4]


def oblong_by_ratio(dataset: FileDataset) -> None:
    del dataset.ImagerPixelSpacing
    dataset.PixelAspectRatio = [1, 2]


def without_spacing(dataset: FileDataset) -> None:
    del dataset.ImagerPixelSpacing


def calibrated(dataset: FileDataset) -> None:
    dataset.PixelSpacing, dataset.PixelSpacingCalibrationType = [0.2, 0.2], "GEOMETRY"
    dataset.PixelSpacingCalibrationDescription = "by the distance of the table"


def forgetful(dataset: FileDataset) -> None:
    for keyword in ("PatientOrientation", "ImageLaterality", "BurnedInAnnotation", "WindowCenter", "WindowWidth"):
        delattr(dataset, keyword)
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        delattr(dataset, keyword)


SOURCES: dict[str, Callable[[FileDataset], None]] = {
    "DX": lambda dataset: None,
    "CR": lambda dataset: as_class(dataset, CR),
    "SC": lambda dataset: as_class(dataset, SECONDARY_CAPTURE),
    "lossy JPEG": lossy,
    "lossy JPEG, unsaid": lossy_unsaid,
    "oblong pixels": oblong,
    "oblong pixels by their ratio": oblong_by_ratio,
    "no spacing": without_spacing,
    "calibrated": calibrated,
    "no orientation, window or compression": forgetful,
}


def errors(folder: Path, files: dict[str, bytes]) -> dict[str, list[str]]:
    found = {}
    for kind, file in files.items():
        path = folder / f"{kind}.dcm"
        path.write_bytes(file)
        told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace")
        found[kind] = [line for line in (told.stdout + told.stderr).splitlines() if line.startswith(("Error", "Abort"))]
    return found


@pytest.fixture
def checked(write, flagged: Finding, provenance: Provenance, picture: np.ndarray, tmp_path: Path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is absent: apt-get install dicom3tools")

    def check(
        path: Path, finding: Finding = flagged, key: SiteKey | None = None, encoding: str = "uncompressed"
    ) -> None:
        files = make_objects(path, finding, provenance, KINDS, picture=picture, key=key, encoding=encoding)
        assert errors(tmp_path, files) == {kind: [] for kind in files}

    return check


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("monochrome1", [False, True])
def test_dciodvfy_finds_no_error(write, checked, source: str, monochrome1: bool) -> None:
    checked(write(SOURCES[source], sex="F", age="074Y", monochrome1=monochrome1))


def test_dciodvfy_finds_no_error_in_compressed_pixels(write, checked) -> None:
    checked(write(), encoding="jpegls")
    checked(write(SOURCES["lossy JPEG"]), encoding="jpegls")


@pytest.mark.parametrize("name", ["Japanese", "Japanese, half width", "Latin-1", "UTF-8"])
def test_dciodvfy_finds_no_error_in_any_character_set(write, checked, name: str) -> None:
    path = write()
    put_name(path, *NAMES[name][:2])
    checked(path)


def test_dciodvfy_finds_no_error_without_a_patient_or_a_finding(
    write, checked, quiet_image: Finding, key: SiteKey
) -> None:
    checked(write(sex="F", age="074Y"), key=key)
    checked(write(), quiet_image)


def test_dciodvfy_finds_an_error_where_there_is_one(write, flagged, provenance, picture, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is absent: apt-get install dicom3tools")
    file = make_objects(write(), flagged, provenance, ["sr"], picture=picture)["sr"]
    broken = file.replace(b"UNVERIFIED", b"UNVERIFYED")
    assert errors(tmp_path, {"sr": broken})["sr"]


def test_dcmtk_reads_the_report(write, flagged: Finding, provenance: Provenance, tmp_path: Path) -> None:
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is absent: apt-get install dcmtk")
    path = tmp_path / "sr.dcm"
    path.write_bytes(make_objects(write(), flagged, provenance, ["sr"], picture=None)["sr"])
    told = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True)
    assert told.returncode == 0
    assert "Region flagged by anomaly detection" in told.stdout
    assert not [line for line in told.stderr.splitlines() if line.startswith("E:")]


def test_dcmtk_reads_the_presentation_state(write, flagged: Finding, provenance: Provenance, tmp_path: Path) -> None:
    if shutil.which("dcmp2pgm") is None:
        pytest.skip("dcmp2pgm is absent: apt-get install dcmtk")
    # dcmtk wants a name, which the standard lets be empty.
    image = write(lambda dataset: setattr(dataset, "PatientName", "Somebody"))
    state, drawn = tmp_path / "gsps.dcm", tmp_path / "drawn.pgm"
    state.write_bytes(make_objects(image, flagged, provenance, ["gsps"], picture=None)["gsps"])
    subprocess.run(["dcmp2pgm", "--pstate", str(state), str(image), str(drawn)], check=True, capture_output=True)
    with Image.open(drawn) as picture:
        assert picture.size == (160, 240)
    told = subprocess.run(["dcmpschk", str(state)], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
