"""A calibration of a DICOM folder, by the very run that it is to judge: triage, window, batches, intended use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitad_med.calibration import Calibration
from vitad_med.calibration.image_set import THUMBNAIL
from vitad_med.calibration.intensity import QUANTITIES
from vitad_med.calibration.reference import build_calibration
from vitad_med.calibration.run import Remark, copies_remark, patient_remarks, unlike_remarks
from vitad_med.data.case import Case
from vitad_med.data.dicom.pixels import read_radiograph
from vitad_med.data.image_io import resize
from vitad_med.data.intensity import to_unit_range
from vitad_med.data.splits import section_of
from vitad_med.data.worklist import Item, build_worklist
from vitad_med.digests import config_digest
from vitad_med.errors import DataError
from vitad_med.predictions.journal import read_journal
from vitad_med.predictions.layout import JOURNAL
from vitad_med.scoring.rows import Row
from vitad_med.scoring.run import Session, Tell
from vitad_med.scoring.settings import ScoreSettings


def calibrate_folder(
    settings: ScoreSettings,
    *,
    held_out: bool = False,
    false_positive_rate: float = 0.1,
    check_fraction: float = 0.3,
    seed: int = 0,
    tell: Tell = print,
) -> tuple[Calibration, list[Remark]]:
    """Score a folder of normal radiographs as ``vitad-med score`` does, and calibrate on those within intended use.

    ``score`` gives no p-value outside of what the bundle is meant for, so such images have no part in the calibration
    either: the rate is promised for the population that is judged.

    Args:
        settings: of the run; ``source`` is the folder, ``out`` a scratch folder.
        held_out: only patients that the bundle's ``val_fraction`` and ``split_seed`` hold out from a training.
        false_positive_rate, check_fraction, seed: see :func:`~vitad_med.calibration.reference.build_calibration`.
        tell: gets a sentence now and then.

    Returns:
        The calibration, and what a site should know about its images.

    Raises:
        ConfigError: as :class:`~vitad_med.scoring.run.Session` and ``build_calibration``.
        DataError: no radiograph of the folder is within intended use.
    """
    with Session(settings, tell) as session:
        items = build_worklist(settings.source, session.bundle.intended, session.processes())
        rows = session.score(settings.source, settings.out).rows
        by_file = {session.key.name("file", item.name): item for item in items if item.header is not None}
        chosen, remarks = _chosen([row for row in rows if row.file in by_file or row.score is None])
        pictures = sum(row.score is not None and row.file not in by_file for row in rows)
        if pictures:
            told = f"{pictures} files are pictures and no DICOM files, and left out: --data image_folder is for them."
            remarks.append(Remark(told))
        if held_out:
            cases = [item.case for item in by_file.values() if item.case is not None]
            kept = {
                case.image_path
                for case in section_of(cases, "val", session.bundle.val_fraction, session.bundle.split_seed)
            }
            chosen = [row for row in chosen if by_file[row.file].path in kept]
        chosen, copied = _without_copies(sorted(chosen, key=lambda row: by_file[row.file].name))
        if copied:
            remarks.append(copies_remark(tuple(by_file[row.file].name for row in copied)))
        if not chosen:
            told = " ".join(remark.text for remark in remarks)
            raise DataError(
                f"no radiograph of {settings.source} is within what the bundle is meant for. {told}".strip()
            )
        found = [by_file[row.file] for row in chosen]
        cases = [_case(item) for item in found]
        intensities = {name: np.array([row.intensities[n] for row in chosen]) for n, name in enumerate(QUANTITIES)}
        remarks += patient_remarks(cases)
        remarks += unlike_remarks([item.name for item in found], intensities, _thumbnails(session, found))
        calibration = build_calibration(
            cases,
            np.array([row.score for row in chosen], dtype=np.float64),
            intensities,
            {
                "model_digest": session.bundle.model_digest,
                "pipeline_digest": config_digest(session.pipeline_settings),
                "backend_digest": config_digest(session.backend.description),
            },
            false_positive_rate=false_positive_rate,
            check_fraction=check_fraction,
            seed=seed,
            method=session.bundle.name,
            created=read_journal(settings.out / JOURNAL).created,
        )
    return calibration, remarks


def _chosen(rows: Sequence[Row]) -> tuple[list[Row], list[Remark]]:
    """Rows that ``score`` would judge, and what became of the others."""
    remarks = []
    aside = Counter(row.set_aside for row in rows if row.score is None)
    if aside:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(aside.items()))
        remarks.append(Remark(f"{aside.total()} of {len(rows)} files are set aside: {told}."))
    outside = [row for row in rows if row.score is not None and row.outside]
    if outside:
        reasons = Counter(word for row in outside for word in row.outside)
        told = ", ".join(f"{word} {count}" for word, count in sorted(reasons.items()))
        what = "1 image is" if len(outside) == 1 else f"{len(outside)} images are"
        remarks.append(
            Remark(f"{what} outside of what the bundle is meant for ({told}) and left out: score does not judge such.")
        )
    return [row for row in rows if row.score is not None and not row.outside], remarks


def _without_copies(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Rows of different pictures, and those whose score and intensities are all those of an earlier file."""
    seen: set[tuple[float | None, tuple[float, ...]]] = set()
    first: list[Row] = []
    copied: list[Row] = []
    for row in rows:
        known = (row.score, row.intensities) in seen
        (copied if known else first).append(row)
        seen.add((row.score, row.intensities))
    return first, copied


def _case(item: Item) -> Case:
    assert item.case is not None
    return item.case


def _thumbnails(session: Session, items: Sequence[Item]) -> NDArray[np.float32]:
    workers, window = session.processes(), session.settings.window
    return np.stack(list(workers.map(thumbnail_of, [item.path for item in items], [window] * len(items))))


def thumbnail_of(path: Path, window: str) -> NDArray[np.float32]:
    """A small copy of a radiograph, float32 [16, 16] in 0..1, whose layout is compared with that of others."""
    return resize(to_unit_range(read_radiograph(path, window).values), THUMBNAIL).astype(np.float32)
