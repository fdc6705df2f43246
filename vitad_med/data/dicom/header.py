"""What triage and cohorts need of a DICOM file, read without its pixels."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from vitad_med.data.case import UNKNOWN
from vitad_med.data.dicom.container import check_length, inflated_length
from vitad_med.data.dicom.quiet import quiet

OLDEST = 120
_AGE = re.compile(r"\s*(\d{1,4})\s*([DWMY]?)\s*", re.IGNORECASE)
_PER_YEAR = {"D": 365.25, "W": 52.1775, "M": 12.0, "Y": 1.0, "": 1.0}

Texts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """Plain values of one file; a text that is absent or cannot be decoded is empty.

    Attributes:
        path: the file.
        sop_class, sop_instance, series, study: UIDs.
        transfer_syntax: UID of the encoding of the pixels.
        patient_id: with its issuer, where one is named, so that two hospitals' numbers do not meet.
        modality, manufacturer: as written, upper case for the modality.
        body_part: BodyPartExamined in upper case.
        regions: code values of the anatomical region.
        view_position: in upper case.
        views: code values of ViewCodeSequence.
        descriptions: SeriesDescription, ProtocolName and the meanings of procedure codes of the series.
        sex: ``M``, ``F`` or ``unknown``.
        age: years, from PatientAge or else from the dates of birth and study; None when unknown or impossible.
        photometric: PhotometricInterpretation.
        shape: rows and columns.
        frames, samples: NumberOfFrames and SamplesPerPixel.
        bits: BitsAllocated and BitsStored.
        has_pixels: whether there are integer pixels at all.
        for_processing: PresentationIntentType is FOR PROCESSING.
        burned_in: BurnedInAnnotation is YES.
        truncated: why the pixels cannot be whole, or empty.
    """

    path: Path
    sop_class: str
    sop_instance: str
    series: str
    study: str
    transfer_syntax: str
    patient_id: str
    modality: str
    manufacturer: str
    body_part: str
    regions: Texts
    view_position: str
    views: Texts
    descriptions: Texts
    sex: str
    age: float | None
    photometric: str
    shape: tuple[int, int]
    frames: int
    samples: int
    bits: tuple[int, int]
    has_pixels: bool
    for_processing: bool
    burned_in: bool
    truncated: str


def read_header(path: str | Path) -> Header:
    """Read the header of a file.

    Raises:
        Exception: of any kind, for a file that is no DICOM file or is damaged: pydicom raises a dozen kinds on damaged
            input, and all of them mean that the file cannot be read.
    """
    with open(path, "rb") as file, quiet():
        inflated_length(file)
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=False, specific_tags=_READ)
        return _header(Path(path), dataset, file)


def parse_age(text: str) -> float | None:
    """Years from an age string: ``062Y``, ``018M``, ``003W``, ``010D``, or a bare number, which counts years.

    Returns:
        years in 0..120, or None where the text is no age or an impossible one.
    """
    found = _AGE.fullmatch(text)
    if found is None:
        return None
    years = int(found[1]) / _PER_YEAR[found[2].upper()]
    return years if years <= OLDEST else None


def age_between(birth: str, study: str) -> float | None:
    """Years between two DICOM dates (``YYYYMMDD``), or None where either is absent or they are impossible."""
    try:
        born, seen = (date(int(text[:4]), int(text[4:6]), int(text[6:8])) for text in (birth, study))
    except ValueError:
        return None
    years = (seen - born).days / 365.25
    return years if 0 <= years <= OLDEST else None


def _header(path: Path, dataset: FileDataset, file: BinaryIO) -> Header:
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    shape = (_number(dataset, "Rows"), _number(dataset, "Columns"))
    frames, samples = _number(dataset, "NumberOfFrames", 1) or 1, _number(dataset, "SamplesPerPixel", 1)
    bits = (_number(dataset, "BitsAllocated"), _number(dataset, "BitsStored"))
    truncated, has_pixels = "", min(shape) > 0
    if has_pixels and UID(syntax) != DeflatedExplicitVRLittleEndian:
        bytes_needed = (shape[0] * shape[1] * frames * samples * bits[0] + 7) // 8
        has_pixels, truncated = check_length(file, UID(syntax), bytes_needed)
    return Header(
        path=path,
        sop_class=_text(dataset, "SOPClassUID"),
        sop_instance=_text(dataset, "SOPInstanceUID"),
        series=_text(dataset, "SeriesInstanceUID"),
        study=_text(dataset, "StudyInstanceUID"),
        transfer_syntax=syntax,
        patient_id=patient_identifier(dataset),
        modality=_text(dataset, "Modality").upper(),
        manufacturer=_text(dataset, "Manufacturer"),
        body_part=_text(dataset, "BodyPartExamined").upper(),
        regions=_codes(dataset, "AnatomicRegionSequence"),
        view_position=_text(dataset, "ViewPosition").upper(),
        views=_codes(dataset, "ViewCodeSequence"),
        descriptions=_descriptions(dataset),
        sex={"M": "M", "F": "F"}.get(_text(dataset, "PatientSex").upper(), UNKNOWN),
        age=_age(dataset),
        photometric=_text(dataset, "PhotometricInterpretation").upper(),
        shape=shape,
        frames=frames,
        samples=samples,
        bits=bits,
        has_pixels=has_pixels,
        for_processing=_text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING",
        burned_in=_text(dataset, "BurnedInAnnotation").upper() == "YES",
        truncated=truncated,
    )


def _age(dataset: Dataset) -> float | None:
    written = parse_age(_text(dataset, "PatientAge"))
    if written is not None:
        return written
    return age_between(_text(dataset, "PatientBirthDate"), _text(dataset, "StudyDate"))


def patient_identifier(dataset: Dataset) -> str:
    """PatientID with its issuer, where one is named, or an empty text."""
    number, issuer = _text(dataset, "PatientID"), _text(dataset, "IssuerOfPatientID")
    return f"{number}\\{issuer}" if number and issuer else number


def _descriptions(dataset: Dataset) -> Texts:
    texts = [_text(dataset, "SeriesDescription"), _text(dataset, "ProtocolName")]
    for item in _items(dataset, "PerformedProtocolCodeSequence"):
        texts.append(_text(item, "CodeMeaning"))
    return tuple(text for text in texts if text)


def _codes(dataset: Dataset, keyword: str) -> Texts:
    return tuple(filter(None, (_text(item, "CodeValue") for item in _items(dataset, keyword))))


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    value = _value(dataset, keyword)
    return list(value) if isinstance(value, pydicom.Sequence) else []


def _text(dataset: Dataset, keyword: str) -> str:
    raw = dataset.get_item(_TAGS[keyword])
    if isinstance(raw, RawDataElement) and _kind(raw) in _TEXTS and _is_plain(raw.value):
        assert raw.value is not None
        return raw.value.decode("ascii").replace("\0", "").strip()
    value = _value(dataset, keyword)
    if value is None or isinstance(value, pydicom.Sequence):
        return ""
    return str(value).replace("\0", "").strip()


def _kind(raw: RawDataElement) -> str:
    return raw.VR or dictionary_VR(raw.tag)


def _is_plain(text: bytes | None) -> bool:
    """Whether the bytes are the text: pydicom would convert them to the same, in twenty times the time.

    Not where a character set, an escape to one, or several values are to be told apart.
    """
    return text is not None and text.isascii() and b"\\" not in text and b"\x1b" not in text


def _number(dataset: Dataset, keyword: str, absent: int = 0) -> int:
    raw = dataset.get_item(_TAGS[keyword])
    if isinstance(raw, RawDataElement) and _kind(raw) == "US" and raw.value is not None and len(raw.value) == 2:
        number: int = struct.unpack("<H" if raw.is_little_endian else ">H", raw.value)[0]
        return number
    try:
        return int(_text(dataset, keyword))
    except ValueError:
        return absent


def _value(dataset: Dataset, keyword: str) -> Any:
    """The value of a tag; None where it is absent or damaged, for a damaged description spoils no image."""
    try:
        return dataset.get(keyword)
    except Exception:
        return None


_TEXTS = frozenset({"AS", "CS", "DA", "IS", "LO", "SH", "UI"})

_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "IssuerOfPatientID"),
    *("Modality", "Manufacturer", "BodyPartExamined", "AnatomicRegionSequence", "ViewPosition", "ViewCodeSequence"),
    *("SeriesDescription", "ProtocolName", "PerformedProtocolCodeSequence", "PatientSex", "PatientAge"),
    *("PatientBirthDate", "StudyDate", "PhotometricInterpretation", "Rows", "Columns", "NumberOfFrames"),
    *("SamplesPerPixel", "BitsAllocated", "BitsStored", "PresentationIntentType", "BurnedInAnnotation"),
)
_OF_CODES = ("CodeValue", "CodeMeaning")
_TAGS = {keyword: Tag(keyword) for keyword in (*_KEYWORDS, *_OF_CODES)}
_READ = [_TAGS[keyword] for keyword in _KEYWORDS]
"""All that is read of a file; others are skipped."""
