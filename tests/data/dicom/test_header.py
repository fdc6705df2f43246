"""Headers of made DICOM files: ages, character sets, patients, and pixels that are not all there."""

from __future__ import annotations

import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from tests.data.dicom.encodings import PLAIN, encode
from vitad_med.data.dicom import container
from vitad_med.data.dicom.header import age_between, parse_age, read_header
from vitad_med.errors import DataError


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("062Y", 62),
        ("62", 62),
        ("018M", 1.5),
        ("004W", 28 / 365.25),
        ("010D", 10 / 365.25),
        (" 062y ", 62),
        ("130Y", None),
        ("", None),
        ("Y", None),
        ("-1Y", None),
        ("62 years", None),
        ("99999", None),
    ],
)
def test_ages(text: str, years: float | None) -> None:
    assert parse_age(text) == (None if years is None else pytest.approx(years, rel=1e-3))


@pytest.mark.parametrize(
    ("birth", "study", "years"),
    [
        ("19400305", "20040826", 64.48),
        ("", "20040826", None),
        ("19400305", "", None),
        ("20050101", "20040826", None),
        ("19401305", "20040826", None),
        ("18000101", "20040826", None),
    ],
)
def test_age_from_dates(birth: str, study: str, years: float | None) -> None:
    assert age_between(birth, study) == (None if years is None else pytest.approx(years, abs=0.01))


def test_the_written_age_counts_before_the_dates(write) -> None:
    def dated(dataset: pydicom.Dataset) -> None:
        dataset.PatientBirthDate, dataset.StudyDate = "19500101", "20200101"

    assert read_header(write(age="018M", change=dated)).age == 1.5
    for absent in ("", "O62Y", "999Y"):
        assert read_header(write(age=absent, change=dated)).age == pytest.approx(70, abs=0.01)


def test_what_a_header_says(write) -> None:
    header = read_header(write(patient="17", sex="F", age="043Y", view="AP"))
    assert (header.patient_id, header.sex, header.age, header.view_position) == ("17", "F", 43, "AP")
    assert (header.modality, header.body_part, header.shape, header.bits) == ("DX", "CHEST", (256, 256), (16, 12))
    assert header.has_pixels
    assert not header.truncated
    issued = read_header(write(patient="17", change=lambda d: setattr(d, "IssuerOfPatientID", "Ward 5")))
    assert issued.patient_id != header.patient_id


@pytest.mark.parametrize(
    ("charset", "name", "number"),
    [
        ("ISO_IR 100", "Müller^Jürgen", "Ä-1"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "1"),
    ],
)
def test_names_in_any_character_set_are_no_obstacle(write, charset: str | list[str], name: str, number: str) -> None:
    def named(dataset: pydicom.Dataset) -> None:
        dataset.SpecificCharacterSet, dataset.PatientName, dataset.PatientID = charset, name, number

    path = write(change=named)
    assert str(pydicom.dcmread(path).PatientName) == name
    assert read_header(path).patient_id == number


def test_damaged_values_spoil_no_header_and_no_log(write, caplog: pytest.LogCaptureFixture) -> None:
    path = write(age="043Y", patient="JOHN-DOE")
    content = path.read_bytes()
    # An age, a sequence and a character set that are none.
    broken = content.replace(b"043Y", b"\xff\xfe\x00\x01").replace(b"ISO_IR 192", b"NO_SUCH 99")
    assert broken != content
    path.write_bytes(broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = read_header(path)
    assert header.age is None
    assert header.modality == "DX"
    assert "JOHN" not in caplog.text


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_missing_pixels_are_counted_in_every_plain_encoding(write, syntax: UID) -> None:
    path = write()
    encode(path, syntax)
    assert read_header(path).truncated == ""
    path.write_bytes(path.read_bytes()[:-1000])
    assert read_header(path).truncated == "1000 of 131072 bytes of pixels are missing"


def test_pixels_that_are_too_few_are_told(write) -> None:
    path = write(change=lambda d: setattr(d, "Rows", 512))
    assert read_header(path).truncated == "the pixels have 131072 bytes, 262144 are needed"


def test_compressed_pixels_are_followed_to_their_end(write) -> None:
    path = write(change=lambda d: d.compress(RLELossless))
    whole = path.read_bytes()
    assert read_header(path).truncated == ""
    path.write_bytes(whole[:-300])
    assert "bytes of a fragment of the pixels are missing" in read_header(path).truncated
    path.write_bytes(whole[:-8])
    assert read_header(path).truncated == "the file ends between two fragments of its pixels"
    damaged = bytearray(whole)
    damaged[-8:-4] = b"\x11\x22\x33\x44"
    path.write_bytes(bytes(damaged))
    assert read_header(path).truncated == "the fragments of the pixels are damaged"


def test_no_pixels_and_no_dicom(write, tmp_path: Path) -> None:
    assert not read_header(write(change=lambda d: d.__delitem__("PixelData"))).has_pixels
    text = tmp_path / "notes.dcm"
    text.write_text("nothing " * 50)
    with pytest.raises(InvalidDicomError):
        read_header(text)


def test_a_file_that_would_unpack_to_gigabytes_is_not_unpacked(write, monkeypatch: pytest.MonkeyPatch) -> None:
    def deflated(dataset: pydicom.Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.PixelData = bytes(2 * len(dataset.PixelData))

    path = write(change=deflated)
    assert path.stat().st_size < 20_000
    assert read_header(path).has_pixels
    monkeypatch.setattr(container, "INFLATED", 200_000)
    with pytest.raises(DataError, match="unpacks to more than"):
        read_header(path)


def slow(dataset: pydicom.Dataset, keyword: str) -> str:
    """The value as pydicom converts it."""
    value = dataset.get(keyword)
    return "" if value is None or isinstance(value, pydicom.Sequence) else str(value).replace("\0", "").strip()


@pytest.mark.parametrize("syntax", PLAIN, ids=lambda syntax: syntax.keyword)
def test_plain_bytes_are_the_values_that_pydicom_converts_them_to(write, syntax: UID) -> None:
    def change(made: FileDataset) -> None:
        made.Manufacturer, made.SeriesDescription = " Acme, Inc. ", ["CHEST PA", "B"]
        made.IssuerOfPatientID, made.PatientBirthDate, made.StudyDate = "ISSUER", "19700101", "20200101"
        made.NumberOfFrames = 1

    path = write(change=change)
    encode(path, syntax)
    found, dataset = read_header(path), pydicom.dcmread(path)
    texts = {
        "sop_class": "SOPClassUID",
        "sop_instance": "SOPInstanceUID",
        "series": "SeriesInstanceUID",
        "study": "StudyInstanceUID",
        "modality": "Modality",
        "manufacturer": "Manufacturer",
        "body_part": "BodyPartExamined",
        "view_position": "ViewPosition",
        "photometric": "PhotometricInterpretation",
    }
    for name, keyword in texts.items():
        assert getattr(found, name) == slow(dataset, keyword), name
    assert found.manufacturer == "Acme, Inc."
    assert found.descriptions == (slow(dataset, "SeriesDescription"),)
    assert found.patient_id == "1\\ISSUER"
    assert (found.shape, found.bits, found.samples, found.frames) == ((256, 256), (16, 12), 1, 1)
    assert found.views == ("272479007",)
    assert found.regions == ("51185008",)
