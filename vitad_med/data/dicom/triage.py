"""Which files are scored, and why the others are set aside: every file gets an answer."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

from pydicom.uid import UID

from vitad_med.data.dicom.codes import (
    CHEST_CODES,
    CHEST_WORDS,
    COLOURS,
    DX_FOR_PROCESSING,
    MANUFACTURER,
    MODALITIES,
    OTHER_MODALITIES,
    PROJECTION_RADIOGRAPHY,
    SECONDARY_CAPTURE,
)
from vitad_med.data.dicom.header import Header
from vitad_med.data.dicom.views import view_of

SMALLEST = 128
"""Pixels of a side; below, nothing of a chest radiograph is left that a network could look at."""

LARGEST = 2**27
"""Pixels of an image that is decoded: 134 million, four times the largest detector's."""

OWN = f"written by {MANUFACTURER}"
"""Detail of own outputs."""

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


class Aside(StrEnum):
    """Why a file is set aside; the values stand in worklists."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    NOT_AN_IMAGE = "not_an_image"
    OWN_OUTPUT = "own_output"
    MODALITY = "modality"
    SECONDARY_CAPTURE = "secondary_capture"
    STORAGE_CLASS = "storage_class"
    COLOUR = "colour"
    MULTI_FRAME = "multi_frame"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    BURNED_IN = "burned_in_annotation"
    BODY_PART = "body_part"
    LATERAL = "lateral"
    DUPLICATE = "duplicate"
    UID_CONFLICT = "uid_conflict"
    PIXELS = "pixels"
    NOT_FINITE = "not_finite"


class Note(StrEnum):
    """What is worth knowing of a file that is scored."""

    FOR_PROCESSING = "for_processing"
    SECONDARY_CAPTURE = "secondary_capture_accepted"
    NO_UID = "no_uid"
    COLOUR = "colour_channels"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a file.

    Attributes:
        aside: why it is set aside, or None.
        detail: the same in words, without anything of the patient.
        notes: of a file that is scored.
    """

    aside: Aside | None
    detail: str = ""
    notes: tuple[Note, ...] = ()


def judge(header: Header) -> Verdict:
    """Whether one file can be scored as a frontal chest radiograph; looks at its header only.

    What a bundle is meant for (ages, views, modalities) is another question:
    :meth:`vitad_med.data.dicom.intended_use.IntendedUse.outside`.
    """
    for rule in (_is_image, _is_radiograph, _is_grey_frame, _is_frontal_chest):
        refusal = rule(header)
        if refusal is not None:
            return Verdict(*refusal)
    notes = []
    if header.for_processing or header.sop_class == DX_FOR_PROCESSING:
        notes.append(Note.FOR_PROCESSING)
    if header.sop_class == SECONDARY_CAPTURE:
        notes.append(Note.SECONDARY_CAPTURE)
    if not header.sop_instance:
        notes.append(Note.NO_UID)
    return Verdict(None, notes=tuple(notes))


Refusal = tuple[Aside, str] | None


def _is_image(header: Header) -> Refusal:
    if header.manufacturer.lower() == MANUFACTURER:
        return Aside.OWN_OUTPUT, OWN
    if not header.has_pixels:
        return Aside.NOT_AN_IMAGE, "it holds no pixels"
    return None


def _is_radiograph(header: Header) -> Refusal:
    if header.modality and header.modality not in MODALITIES:
        return Aside.MODALITY, f"modality {_told(header.modality, OTHER_MODALITIES)}, not {' or '.join(MODALITIES)}"
    if header.sop_class in PROJECTION_RADIOGRAPHY:
        return None
    if header.sop_class != SECONDARY_CAPTURE:
        return Aside.STORAGE_CLASS, f"storage class {_class_name(header.sop_class)}"
    if header.modality not in MODALITIES:
        return Aside.SECONDARY_CAPTURE, "a secondary capture that is not said to be a radiograph"
    if not _says_chest(header):
        return Aside.SECONDARY_CAPTURE, "a secondary capture that is not said to be of the chest"
    return None


def _is_grey_frame(header: Header) -> Refusal:
    if header.samples != 1 or header.photometric not in MONOCHROME:
        return (
            Aside.COLOUR,
            f"{header.samples} samples a pixel, photometric {_told(header.photometric, {*COLOURS, *MONOCHROME})}",
        )
    if header.frames != 1:
        return Aside.MULTI_FRAME, f"{header.frames} frames"
    pixels = header.shape[0] * header.shape[1]
    if pixels > LARGEST:
        return Aside.TOO_LARGE, f"{header.shape[0]} x {header.shape[1]} pixels, more than {LARGEST:,}"
    if min(header.shape) < SMALLEST:
        return Aside.TOO_SMALL, f"{header.shape[0]} x {header.shape[1]} pixels: an icon or a cut-out"
    if header.truncated:
        return Aside.TRUNCATED, header.truncated
    return None


def _is_frontal_chest(header: Header) -> Refusal:
    if header.burned_in:
        return Aside.BURNED_IN, "text is burned into the pixels"
    if (header.body_part or header.regions) and not _says_chest(header):
        # A free text, which may hold anything: it is not repeated.
        return Aside.BODY_PART, "a body part that is not the chest"
    if view_of(header) == "lateral":
        return Aside.LATERAL, "a lateral or decubitus view"
    return None


def _says_chest(header: Header) -> bool:
    if header.body_part:
        return header.body_part in CHEST_WORDS
    return bool(CHEST_CODES.intersection(header.regions))


def _told(text: str, known: Container[str]) -> str:
    """A coded value that the standard defines; any other text may hold anything and is not repeated."""
    return text if text in known else "not told" if not text else "of another name"


def _class_name(uid: str) -> str:
    """The standard's name of a storage class, which is not the text of the file."""
    name = UID(uid).name
    return name if name != uid else "not told" if not uid else "of another name"
