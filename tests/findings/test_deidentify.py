"""With a key nothing of the patient, the study or the site is in an object, whatever the source holds and where."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileDataset

from vitad_med.data.dicom.header import read_header
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.objects import KINDS, make_objects
from vitad_med.site.key import SiteKey

CANARY = b"CANARY"
TEXTS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
OTHERS = {
    "DA": "19011213",
    "TM": "111213.141516",
    "DT": "19011213111213",
    "AS": "077Y",
    "UI": "1.2.3.19011213",
    "DS": "77.654321",
    "IS": "77654321",
}
NEEDED = {
    *("SOPClassUID", "TransferSyntaxUID", "Rows", "Columns", "SpecificCharacterSet", "NumberOfFrames"),
    *("SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "TimezoneOffsetFromUTC"),
}


def plant(dataset: Dataset, items: bool = True) -> int:
    """A canary in every element that holds text, dates, UIDs or numbers as text, and in items of every sequence."""
    planted = 0
    for tag, (vr, *_, retired, keyword) in DicomDictionary.items():
        if not keyword or keyword in NEEDED or tag < 0x00080000 or retired or tag >> 16 in (0x7FE0, 0xFFFC, 0xFFFE):
            continue
        if vr in TEXTS:
            setattr(dataset, keyword, "CANARY1")
        elif vr in OTHERS:
            setattr(dataset, keyword, OTHERS[vr])
        elif vr == "SQ" and items:
            item = Dataset()
            planted += plant(item, False) if keyword in DEEP else 0
            item.CodeValue = item.CodeMeaning = item.PatientID = item.LUTExplanation = "CANARY2"
            setattr(dataset, keyword, [item])
        else:
            continue
        planted += 1
    block = dataset.private_block(0x0011, "CANARY CREATOR", create=True)
    block.add_new(1, "LO", "CANARY3")
    return planted


DEEP = ("OtherPatientIDsSequence", "RequestAttributesSequence", "VOILUTSequence")


@pytest.fixture
def full(write) -> Path:
    """A file full of canaries, with a window and a spacing that can be used."""

    def change(dataset: FileDataset) -> None:
        shape = dataset.Rows, dataset.Columns
        assert plant(dataset) > 2000
        for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
            delattr(dataset, keyword)
        dataset.WindowCenter, dataset.WindowWidth = [77, 100], [654, 10]
        dataset.VOILUTFunction = "LINEAR"
        dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
        dataset.ImagerPixelSpacing = [0.2, 0.2]
        dataset.InstanceNumber, dataset.LossyImageCompressionRatio = 1, 4
        dataset.Rows, dataset.Columns = shape
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.19011213.1"
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3.19011213.2", "1.2.3.19011213.3"

    return write(change)


def find_canaries(file: bytes) -> list[bytes]:
    return [one for one in (CANARY, *(text.encode() for text in OTHERS.values())) if one in file]


def test_no_canary_is_left(
    full: Path, flagged: Finding, provenance: Provenance, picture: np.ndarray, key: SiteKey
) -> None:
    made = make_objects(full, flagged, provenance, KINDS, picture=picture, key=key)
    assert set(made) == set(KINDS)
    for kind, file in made.items():
        assert find_canaries(file) == [], kind
    clear = make_objects(full, flagged, provenance, KINDS, picture=picture)
    for kind, file in clear.items():
        assert {CANARY, b"19011213", b"077Y"} <= set(find_canaries(file)), kind


def test_the_patient_is_called_by_the_name_of_the_worklist(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray, key: SiteKey
) -> None:
    path = write(lambda dataset: setattr(dataset, "IssuerOfPatientID", "East"), sex="F", age="074Y")
    name = key.name("patient", read_header(path).patient_id)
    assert read_header(path).patient_id == "1\\East"
    for file in make_objects(path, flagged, provenance, KINDS, picture=picture, key=key).values():
        made = pydicom.dcmread(io.BytesIO(file))
        assert made.PatientID == made.PatientName == name
        assert made.PatientIdentityRemoved == "YES"
        assert made.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert made.LongitudinalTemporalInformationModified == "REMOVED"
        assert not made.PatientSex
        assert not made.StudyDate
        assert "PatientAge" not in made
        days = {str(element.value)[:8] for element in made.iterall() if element.VR in ("DA", "DT") and element.value}
        times = {str(element.value)[:6] for element in made.iterall() if element.VR == "TM" and element.value}
        assert (days, times) == ({"19000101"}, {"000000"})


def test_uids_are_replaced_by_the_same_ones_everywhere(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray, key: SiteKey
) -> None:
    path = write()
    header = read_header(path)
    own = {header.sop_instance, header.study, header.series}
    files = make_objects(path, flagged, provenance, KINDS, picture=picture, key=key)
    made = {kind: pydicom.dcmread(io.BytesIO(file)) for kind, file in files.items()}
    assert len({dataset.StudyInstanceUID for dataset in made.values()}) == 1
    referred = set()
    for dataset in made.values():
        for element in dataset.iterall():
            assert str(element.value) not in own
            if element.keyword == "ReferencedSOPInstanceUID":
                referred.add(element.value)
    assert len(referred) == 1
    clear = make_objects(path, flagged, provenance, KINDS, picture=picture)
    for kind, file in clear.items():
        # Otherwise whoever has the radiograph could compute which object is whose.
        assert pydicom.dcmread(io.BytesIO(file)).SOPInstanceUID != made[kind].SOPInstanceUID


def test_the_bytes_repeat_and_depend_on_the_key(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray, key: SiteKey
) -> None:
    path = write()
    first, second = (make_objects(path, flagged, provenance, KINDS, picture=picture, key=key) for _ in range(2))
    assert first == second
    other = make_objects(path, flagged, provenance, KINDS, picture=picture, key=SiteKey(bytes(32)))
    assert all(other[kind] != first[kind] for kind in KINDS)


def test_terms_of_the_standard_stay(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray, key: SiteKey
) -> None:
    files = make_objects(write(), flagged, provenance, ["sc"], picture=picture, key=key)
    made = pydicom.dcmread(io.BytesIO(files["sc"]))
    assert made.LossyImageCompressionMethod == "ISO_10918_1"
    assert made.BurnedInAnnotation == "NO"
    assert made.PatientOrientation == ["L", "F"]
