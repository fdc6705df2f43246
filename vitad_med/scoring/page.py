"""``report.html`` of a scored folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitad_med.calibration import Calibration
from vitad_med.calibration.drift import drift
from vitad_med.calibration.intensity import QUANTITIES
from vitad_med.data.case import Case
from vitad_med.metrics.metadata import age_band
from vitad_med.reporting.page import records
from vitad_med.reporting.page.numbers import Cell, short_digest, stated_percent
from vitad_med.reporting.page.scored import ScoredFolder, render_scored
from vitad_med.reporting.page.tables import Table, TableRow
from vitad_med.scoring.rows import Row

MEANINGS = {
    "unreadable": "no image file, or damaged",
    "truncated": "fewer pixels than announced",
    "not_an_image": "no pixels: a report, a directory, a presentation state",
    "own_output": "written by this program",
    "modality": "not CR or DX",
    "secondary_capture": "a secondary capture that is not said to be a chest radiograph",
    "storage_class": "not stored as a CR or DX image",
    "colour": "more than one sample a pixel",
    "multi_frame": "more than one frame",
    "too_large": "more pixels than any detector has",
    "too_small": "an icon or a cut-out: fewer than 128 pixels a side",
    "burned_in_annotation": "text is burned into the pixels",
    "body_part": "not the chest",
    "lateral": "a lateral or decubitus view",
    "duplicate": "the same file occurs before",
    "uid_conflict": "another file before has this SOP Instance UID and other content",
    "pixels": "the pixels cannot be decoded, or are all the same",
    "not_finite": "the network gave no finite number",
}


SHOWN = 16
"""Digits of a hashed name on the page; `vitad-med lookup` takes them, the table has all."""


@dataclass(frozen=True)
class Account:
    """A run as its page tells it.

    Attributes:
        method: name of the bundle.
        created: when the run began, as text.
        score_rule: what the score is.
        digests: (term, digest) pairs.
        backend: what computed the scores, in words.
        software: names and versions.
        measured: ``eval_metrics`` of the bundle's metadata.
        calibration: in use, or None.
    """

    method: str
    created: str
    score_rule: str
    digests: Sequence[tuple[str, str]]
    backend: str
    software: str
    measured: Mapping[str, Any]
    calibration: Calibration | None


def page_of(
    account: Account, rows: Sequence[Row], pictures: Mapping[str, tuple[bytes, bytes]], deidentified: bool
) -> str:
    """The page as text.

    Args:
        account: of the run.
        rows: all files, in the order of the worklist.
        pictures: hashed image name -> X-ray and heat map.
        deidentified: whether the patients in the DICOM objects were renamed.
    """
    scored = [row for row in rows if row.score is not None]
    moved = _drift(scored, account.calibration)
    drifted = moved is not None and any(row["shifted"] for row in moved["rows"])
    folder = ScoredFolder(
        title=f"{account.method}: {len(scored)} of {len(rows)} files",
        head=[
            ("Method", account.method),
            ("Run", account.created),
            ("Scored", f"{len(scored)} images of {len({row.patient or row.image for row in scored})} patients"),
            *((term, short_digest(digest) or "none") for term, digest in account.digests),
        ],
        short=_short(rows, scored, account.calibration, drifted),
        sentences=_sentences(scored, account),
        files=_files(rows),
        drift=moved,
        methods=[
            ("Image score", account.score_rule),
            ("Heat maps", "Colours run within each image: they compare places in one image, never images."),
            ("Computed by", account.backend),
            ("Software", account.software),
            ("Identifiers", "keyed hashes; `vitad-med lookup HASH` leads back, inside the site"),
            ("DICOM objects", "patients renamed" if deidentified else "carry the patient of their source"),
            *((term, digest or "none") for term, digest in account.digests),
        ],
    )
    shown = [_record(row) for row in scored]
    thumbnails = [
        records.Thumbnail(place, *pictures[row.image]) for place, row in enumerate(scored) if row.image in pictures
    ]
    return render_scored(folder, shown, thumbnails)


def _short(rows: Sequence[Row], scored: Sequence[Row], calibration: Calibration | None, drifted: bool) -> str:
    aside = len(rows) - len(scored)
    told = f"{_count(len(scored), 'image')} scored, {_count(aside, 'file')} set aside"
    if calibration is None:
        return f"{told}. No threshold: scores rank images, and say of none that it is abnormal."
    judged = [row for row in scored if row.flagged is not None]
    flagged = sum(bool(row.flagged) for row in judged)
    rate = stated_percent(calibration.false_positive_rate)
    doubt = "; here it cannot be relied on, see Drift" if drifted else ""
    return (
        f"{told}; {flagged} of {len(judged)} images within intended use flagged. Of new normal patients like those of "
        f"the calibration at most {rate} are flagged too, on average{doubt}."
    )


def _sentences(scored: Sequence[Row], account: Account) -> list[str]:
    sentences = []
    if account.calibration is None:
        sentences.append(
            "To get a threshold and p-values, calibrate on this site's own normal images: vitad-med calibrate."
        )
    outside = [row for row in scored if row.outside]
    if outside:
        reasons = Counter(word.replace("_", " ") for row in outside for word in row.outside)
        told = ", ".join(f"{word} ({number})" for word, number in sorted(reasons.items()))
        sentences.append(
            f"{_count(len(outside), 'image')} outside of what the bundle is meant for: {told}. Scored and marked, "
            "without p-value or flag."
        )
    missing = Counter(note for row in scored for note in row.notes if note.startswith(("no_", "outputs_")))
    missing.pop("no_uid", None)
    if missing:
        told = ", ".join(f"{note.removeprefix('no_')} ({number})" for note, number in sorted(missing.items()))
        sentences.append(f"Objects that could not be made for an image: {told}.")
    if account.measured:
        told = "; ".join(
            f"{name.replace('_', ' ').replace('auroc', 'AUROC')} {value}" for name, value in account.measured.items()
        )
        sentences.append(f"Measured on the bundle's own benchmark, see its README: {told}.")
    return sentences


def _files(rows: Sequence[Row]) -> Table:
    scored = [row for row in rows if row.score is not None]
    lines = [
        TableRow("scored", [Cell(str(sum(not row.outside for row in scored))), Cell("within intended use")]),
        TableRow(
            "outside_intended_use",
            [Cell(str(sum(bool(row.outside) for row in scored))), Cell("scored and marked, without a p-value")],
        ),
    ]
    reasons = Counter(row.set_aside for row in rows if row.score is None)
    for number, (reason, count) in enumerate(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))):
        lines.append(TableRow(reason, [Cell(str(count)), Cell(MEANINGS.get(reason, ""))], starts_group=number == 0))
    return Table("Files by what became of them", ("", "Files", "Meaning"), lines, text_columns=(2,))


def _drift(scored: Sequence[Row], calibration: Calibration | None) -> dict[str, Any] | None:
    judged = [row for row in scored if row.flagged is not None]
    if calibration is None or not judged:
        return None
    # Nothing is known of the images: label 1 for all makes the comparison say that none is known to be normal.
    cases = [Case(row.file, row.patient or row.file, Path(), "dicom", "test", label=1) for row in judged]
    intensities = {name: np.array([row.intensities[place] for row in judged]) for place, name in enumerate(QUANTITIES)}
    return drift(cases, np.array([row.score for row in judged], dtype=np.float64), intensities, calibration)


def _record(row: Row) -> records.Row:
    assert row.score is not None
    return records.Row(
        image=row.image[:SHOWN],
        patient=row.patient[:SHOWN],
        score=row.score,
        p_value=row.p_value,
        flagged=row.flagged,
        sex=row.sex,
        view=row.view,
        age_band=age_band(row.age),
        columns=(
            ("manufacturer", row.manufacturer),
            ("intended use", "within" if not row.outside else _in_words(row.outside)),
            ("notes", _in_words(row.notes)),
        ),
    )


def _in_words(codes: tuple[str, ...]) -> str:
    """Codes of the worklist as lines that a table can break."""
    return ", ".join(codes).replace("_", " ")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
