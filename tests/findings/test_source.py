"""Patient and study are taken over byte for byte, in any character set and encoding; nothing is invented."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.data.dicom.encodings import encode
from vitad_med.data.dicom.quiet import quiet
from vitad_med.errors import DataError
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.objects import KINDS, make_objects
from vitad_med.findings.source import read_source

Objects = Callable[..., dict[str, Dataset]]

# PS3.5 H.3.1: Yamada Tarou in the Latin alphabet, in kanji and in hiragana, as its bytes stand there.
YAMADA = (
    b"Yamada^Tarou=\x1b\x24\x42\x3b\x33\x45\x44\x1b\x28\x42\x5e\x1b\x24\x42\x42\x40\x4f\x3a\x1b\x28\x42"
    b"=\x1b\x24\x42\x24\x64\x24\x5e\x24\x40\x1b\x28\x42\x5e\x1b\x24\x42\x24\x3f\x24\x6d\x24\x26\x1b\x28\x42"
)
# PS3.5 H.3.2: the same with JIS X 0201 for the first group.
HALF_WIDTH = (
    b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b\x24\x42\x3b\x33\x45\x44\x1b\x28\x4a^\x1b\x24\x42\x42\x40\x4f\x3a\x1b\x28\x4a"
    b"=\x1b\x24\x42\x24\x64\x24\x5e\x24\x40\x1b\x28\x4a^\x1b\x24\x42\x24\x3f\x24\x6d\x24\x26\x1b\x28\x4a"
)
NAMES = {
    "Japanese": ("\\ISO 2022 IR 87", YAMADA, "太郎"),
    "Japanese, half width": ("ISO 2022 IR 13\\ISO 2022 IR 87", HALF_WIDTH, "太郎"),
    "Latin-1": ("ISO_IR 100", "Müller^Bjørn".encode("latin-1"), "Bjørn"),
    "UTF-8": ("ISO_IR 192", "Müller^太郎".encode(), "太郎"),
    "not in the character set that it names": ("ISO_IR 192", "Müller^Bjørn".encode("latin-1"), ""),
    "in a character set that there is not": ("ISO_IR 999", "Müller^Bjørn".encode("latin-1"), ""),
    "without a character set": (None, "Müller^Bjørn".encode("latin-1"), ""),
}


def put_name(path: Path, characters: str | None, name: bytes) -> None:
    """Write the bytes of a name into a file, also into an item of a sequence, past pydicom's encoders."""
    dataset = pydicom.dcmread(path)
    del dataset.SpecificCharacterSet
    if characters is not None:
        dataset.SpecificCharacterSet = characters.split("\\")
    marks = ("A" * len(name), "B" * len(name))
    dataset.PatientName = marks[0]
    dataset.OtherPatientIDsSequence = [Dataset()]
    dataset.OtherPatientIDsSequence[0].PatientID = "7"
    dataset.OtherPatientIDsSequence[0].TypeOfPatientID = "TEXT"
    dataset.OtherPatientIDsSequence[0].IssuerOfPatientID = marks[1]
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    for mark in marks:
        assert content.count(mark.encode()) == 1
        content = content.replace(mark.encode(), name)
    path.write_bytes(content)


def raw(dataset: Dataset, keyword: str) -> bytes:
    return dataset.get_item(keyword).value.rstrip()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_names_stay_as_their_bytes_are(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray, name: str, syntax: pydicom.uid.UID
) -> None:
    path = write()
    if syntax != ExplicitVRLittleEndian:
        encode(path, syntax)
    characters, content, readable = NAMES[name]
    with quiet():  # of a character set that there is not
        put_name(path, characters, content)
    kinds = KINDS if (name, syntax) == ("Japanese", ImplicitVRLittleEndian) else ["sc"]
    made = make_objects(path, flagged, provenance, kinds, picture=picture)
    for kind, file in made.items():
        with quiet():
            dataset = pydicom.dcmread(io.BytesIO(file))
        assert raw(dataset, "PatientName") == content, kind
        with quiet():
            nested = dataset.OtherPatientIDsSequence[0]
        assert raw(nested, "IssuerOfPatientID") == content, kind
        if characters is None:
            assert "SpecificCharacterSet" not in dataset
        else:
            written = dataset.SpecificCharacterSet
            assert (written if isinstance(written, str) else "\\".join(written)) == characters
        if readable:
            assert readable in str(dataset.PatientName)


def test_patient_and_study_are_those_of_the_source(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    def describe(dataset: FileDataset) -> None:
        dataset.PatientBirthDate, dataset.StudyDate, dataset.StudyTime = "19500102", "20240305", "101112.5"
        dataset.StudyDescription, dataset.AccessionNumber, dataset.StudyID = "Thorax", "A1", "S1"
        dataset.PatientWeight, dataset.PregnancyStatus = "71.5", 1
        dataset.InstitutionName, dataset.StationName, dataset.OperatorsName = "Hospital", "Room 1", "Somebody"

    path = write(describe, sex="F", age="074Y")
    source = pydicom.dcmread(path)
    for kind, file in make_objects(path, flagged, provenance, KINDS, picture=picture).items():
        made = pydicom.dcmread(io.BytesIO(file))
        for keyword in (
            *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight"),
            *("PregnancyStatus", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription"),
            *("AccessionNumber", "ReferringPhysicianName", "SpecificCharacterSet"),
        ):
            assert made[keyword].value == source[keyword].value, (kind, keyword)
        # The equipment is another, and nobody operated it.
        assert not {"InstitutionName", "StationName", "OperatorsName"} & set(made.dir()), kind


def test_what_the_source_does_not_know_is_empty(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    def forget(dataset: FileDataset) -> None:
        for keyword in (
            *("PatientName", "PatientID", "PatientSex", "PatientAge", "PatientBirthDate", "StudyDate", "StudyTime"),
            *("StudyID", "AccessionNumber", "ReferringPhysicianName", "SpecificCharacterSet", "PatientOrientation"),
        ):
            if keyword in dataset:
                delattr(dataset, keyword)

    made = make_objects(write(forget), flagged, provenance, KINDS, picture=picture)
    for kind, file in made.items():
        dataset = pydicom.dcmread(io.BytesIO(file))
        for keyword in ("PatientName", "PatientID", "PatientSex", "PatientBirthDate", "StudyDate", "AccessionNumber"):
            assert keyword in dataset, (kind, keyword)
            assert not dataset[keyword].value, (kind, keyword)
        assert "PatientAge" not in dataset
        assert not dataset.get("PatientOrientation")


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_source_that_nothing_can_refer_to_is_refused(write, keyword: str) -> None:
    with pytest.raises(DataError, match=f"no {keyword}"):
        read_source(write(lambda dataset: delattr(dataset, keyword)))


def test_a_file_that_is_no_dicom_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_text("nothing")
    with pytest.raises(DataError, match="header cannot be read: InvalidDicomError"):
        read_source(tmp_path / "x.dcm")


def test_damaged_elements_are_left_out(write) -> None:
    path = write(lambda dataset: setattr(dataset, "ImagerPixelSpacing", ["0.11", "0.12"]))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.11\\0.12 ", b"damaged!\\1"))
    assert read_source(path).spacing is None


@pytest.mark.parametrize(("age", "expected"), [(b"062Y", "062Y"), (b"62", None), (b"62 Y", None), (b"", "")])
def test_an_age_is_copied_only_if_it_is_one(write, age: bytes, expected: str | None) -> None:
    path = write(age="999Y")
    content = path.read_bytes()
    element = b"\x10\x00\x10\x10AS\x04\x00999Y"
    assert element in content
    path.write_bytes(content.replace(element, element[:6] + len(age).to_bytes(2, "little") + age))
    assert read_source(path).about.get("PatientAge") == expected


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(None, "20261128233005"), ("+0900", "20261129083005"), ("-0330", "20261128200005"), ("?", "20261128233005")],
)
def test_times_are_in_the_zone_of_the_files_times(
    write, provenance: Provenance, flagged: Finding, offset: str | None, expected: str
) -> None:
    def zone(dataset: FileDataset) -> None:
        if offset is not None:
            dataset.TimezoneOffsetFromUTC = offset

    path = write(zone)
    moment = read_source(path).clock(datetime(2026, 11, 28, 23, 30, 5, tzinfo=UTC))
    assert moment.strftime("%Y%m%d%H%M%S") == expected
    made = pydicom.dcmread(io.BytesIO(make_objects(path, flagged, provenance, ["sr"], picture=None)["sr"]))
    assert made.ContentDate + made.ContentTime == expected
    assert made.InstanceCreationDate + made.InstanceCreationTime == expected
    assert made.get("TimezoneOffsetFromUTC") == offset
