"""Reading a run on disk, or anybody's table of scores with a folder of maps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vitad_med.data.case import Case
from vitad_med.errors import ConfigError, DataError
from vitad_med.predictions.content import check_content
from vitad_med.predictions.identifiers import Identifiers, default_identifiers, public_names
from vitad_med.predictions.journal import Journal, read_journal
from vitad_med.predictions.places import find_places
from vitad_med.predictions.records import Exclusion, Predictions
from vitad_med.predictions.rows import Entry, read_entries

EVAL_SIZE = 224
NO_SCORE = "score missing, NaN or infinite"
NO_MAP_VALUES = "map with NaN or infinite values"

logger = logging.getLogger(__name__)


def read_predictions(
    path: str | Path,
    *,
    maps: str | Path | None = None,
    images: str | Path | None = None,
    eval_size: int | None = None,
    drop_invalid: bool = False,
    identifiers: Identifiers | None = None,
    identifier_key: bytes | None = None,
) -> Predictions:
    """Read a table of predictions and check every file that belongs to it; `docs/predictions_format.md`.

    Every file is read once, for its digest and for the checks; afterwards maps and images are read one at a time.

    Args:
        path: output folder of an evaluation (with ``predictions/``), a folder with ``predictions.csv``, or a CSV file.
        maps: folder of the maps; ``maps/`` beside the table where not given.
        images: folder of the pictures; ``images/`` beside the table where not given.
        eval_size: side of the grid in pixels; the journal's where not given, else 224.
        drop_invalid: leave out images whose score or map is not finite, in place of refusing them.
        identifiers: ``clear`` or ``hashed`` names. Where not given, names stay as they are when the journal says that
            they are hashed or the data are public, and are hashed otherwise.
        identifier_key: secret of ``hashed``.

    Raises:
        ConfigError: an option that cannot be, or names to be hashed without a key.
        DataError: names the file, line and column and the remedy.
    """
    if eval_size is not None and (isinstance(eval_size, bool) or not isinstance(eval_size, int) or eval_size < 1):
        raise ConfigError(f"eval_size is {eval_size!r}, but must be a whole number of at least 1.")
    places = find_places(Path(path), maps, images)
    stored = Journal() if places.journal is None else read_journal(places.journal)
    size = eval_size or stored.eval_size or EVAL_SIZE
    entries, notes = read_entries(places, stored.source, size)
    journal = _completed(stored, [entry.case for entry in entries], identifiers)
    cases = [entry.case for entry in entries]
    if journal.identifiers == "hashed" and stored.identifiers != "hashed":
        cases = _renamed(cases, identifier_key)  # a missing key is found here rather than after the pass over the files
    digest, not_finite = check_content(entries, places)

    faults = dict.fromkeys(not_finite, NO_MAP_VALUES)
    faults |= {index: NO_SCORE for index, entry in enumerate(entries) if not np.isfinite(entry.score)}
    if faults and not drop_invalid:
        raise _refusal(entries, faults)
    kept = [index for index in range(len(entries)) if index not in faults]
    if not kept:
        raise DataError(f"{places.table}: every image has a {NO_SCORE} or a {NO_MAP_VALUES}; write the table again.")
    for note in notes:
        logger.warning("%s", note)
    return Predictions(
        cases=tuple(cases[index] for index in kept),
        scores=np.array([entries[index].score for index in kept], dtype=np.float64),
        journal=journal,
        exclusions=tuple(
            Exclusion(cases[index].case_id, cases[index].patient_id, faults[index]) for index in sorted(faults)
        ),
        digest=digest,
        eval_size=size,
        notes=tuple(notes),
        map_files=tuple(entries[index].map_file for index in kept),
        image_files=tuple(entries[index].image_file for index in kept),
    )


def _completed(journal: Journal, cases: Sequence[Case], identifiers: Identifiers | None) -> Journal:
    """The journal with source, publicity and naming as they follow from the table and the options."""
    if identifiers not in (None, "clear", "hashed"):
        raise ConfigError(f"identifiers is '{identifiers}'; choose 'clear' or 'hashed'.")
    if journal.identifiers == "hashed" and identifiers == "clear":
        raise ConfigError("The names of this run are hashed already and cannot be made clear; leave --identifiers out.")
    public = default_identifiers(cases) == "clear" if journal.public is None else journal.public
    naming: Identifiers = "clear" if public else "hashed"
    if journal.identifiers == "hashed":
        naming = "hashed"
    sources = sorted({case.source for case in cases})
    return replace(
        journal, public=public, identifiers=identifiers or naming, source=journal.source or ", ".join(sources)
    )


def _renamed(cases: Sequence[Case], key: bytes | None) -> list[Case]:
    images, patients = public_names(cases, "hashed", key)
    return [
        replace(case, case_id=image, patient_id=patient)
        for case, image, patient in zip(cases, images, patients, strict=True)
    ]


def _refusal(entries: Sequence[Entry], faults: dict[int, str]) -> DataError:
    first = min(faults)
    reason = faults[first]
    count = sum(fault == reason for fault in faults.values())
    cell = entries[first].row["score" if reason == NO_SCORE else "image"]
    return cell.error(
        f"'{entries[first].case.case_id}' has a {reason}, as have {count} of {len(entries)} images in all; find what "
        "the method returned, or leave them out with --drop-invalid"
    )
