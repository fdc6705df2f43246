"""One line of a worklist: what a result says of a file, without anything by which its patient is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from vitad_med.data.case import UNKNOWN
from vitad_med.data.dicom.codes import MANUFACTURERS
from vitad_med.data.worklist import Item
from vitad_med.predictions.writer import POOLED_AGE
from vitad_med.site.key import SiteKey
from vitad_med.site.linkage import Link

OTHER = "other"


@dataclass(frozen=True, slots=True)
class Row:
    """A file of the worklist.

    Attributes:
        file, image, study, patient: keyed hashes of its place in the folder, SOP Instance UID, Study Instance UID and
            PatientID; empty where the file does not say. A picture without a UID is named by its place.
        sex, view, modality: as in cohorts, ``unknown`` where not told.
        manufacturer: one of the names in :data:`~vitad_med.data.dicom.codes.MANUFACTURERS`, ``other`` or ``unknown``.
        age: whole years, 90 for all above; None when unknown.
        outside: how it lies outside of the bundle's intended use.
        notes: what is worth knowing of a file that is scored.
        set_aside, detail: why it is not scored, as a word and in words; empty for one that is.
        score: higher is more anomalous, six significant digits; None where set aside.
        p_value: conformal; None without a calibration, outside of intended use, or where set aside.
        flagged: whether the score is above the threshold; None as for ``p_value``.
        intensities: six numbers of its pixels, for the comparison with a calibration.
    """

    file: str
    image: str
    study: str
    patient: str
    sex: str = UNKNOWN
    view: str = UNKNOWN
    age: int | None = None
    modality: str = UNKNOWN
    manufacturer: str = UNKNOWN
    outside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    set_aside: str = ""
    detail: str = ""
    score: float | None = None
    p_value: float | None = None
    flagged: bool | None = None
    intensities: tuple[float, ...] = ()

    def scored(self, score: float, p_value: float | None, flagged: bool | None, intensities: tuple[float, ...]) -> Row:
        """The row of the file after it was scored."""
        return replace(self, score=score, p_value=p_value, flagged=flagged, intensities=intensities)

    def aside(self, reason: str, detail: str) -> Row:
        """The row of a file that turned out not to be scorable."""
        return replace(self, set_aside=reason, detail=detail, outside=(), notes=())

    def noted(self, notes: tuple[str, ...]) -> Row:
        """The row with further notes."""
        return replace(self, notes=(*self.notes, *notes)) if notes else self

    def to_json(self) -> str:
        """One line; equal rows give equal text."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Row:
        """What :meth:`to_json` wrote.

        Raises:
            TypeError: keys of another version.
        """
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)


NAMES = tuple(field.name for field in fields(Row))


def row_of(item: Item, key: SiteKey) -> Row:
    """The row of a file that is not scored yet."""
    case, header = item.case, item.header
    columns = dict(case.columns) if case is not None else {}
    modality = header.modality if header is not None else ""
    return Row(
        file=key.name("file", item.name),
        image=key.name("image", image_identifier(item)),
        study=_named(key, "study", header.study if header is not None else ""),
        patient=_named(key, "patient", case.patient_id if case is not None else header.patient_id if header else ""),
        sex=case.sex if case is not None else UNKNOWN,
        view=case.view if case is not None else UNKNOWN,
        age=None if case is None or case.age is None else min(int(case.age), POOLED_AGE),
        modality=modality if case is not None and modality else UNKNOWN,
        manufacturer=known_manufacturer(columns.get("manufacturer", "")),
        outside=item.outside,
        notes=tuple(str(note) for note in item.verdict.notes),
        set_aside="" if item.verdict.aside is None else str(item.verdict.aside),
        detail=item.verdict.detail if item.verdict.aside is not None else "",
    )


def links_of(item: Item, row: Row, key: SiteKey) -> list[Link]:
    """What the names of a row stand for, for the table beside the key."""
    header = item.header
    patient = item.case.patient_id if item.case is not None else header.patient_id if header is not None else ""
    links = [
        Link(row.file, "file", item.name, key.id),
        Link(row.image, "image", image_identifier(item), key.id),
    ]
    if row.study:
        links.append(Link(row.study, "study", header.study if header is not None else "", key.id))
    if row.patient:
        links.append(Link(row.patient, "patient", patient, key.id))
    return links


def image_identifier(item: Item) -> str:
    """SOP Instance UID, or the place in the folder of a file that has none."""
    return item.header.sop_instance if item.header is not None and item.header.sop_instance else item.name


def known_manufacturer(text: str) -> str:
    """A name that many devices share; anything else may hold anything, and is not repeated."""
    if text in ("", UNKNOWN):
        return UNKNOWN
    lower = text.lower()
    return next((name for name, sign in MANUFACTURERS.items() if sign in lower), OTHER)


def _named(key: SiteKey, domain: Any, identifier: str) -> str:
    return key.name(domain, identifier) if identifier else ""
