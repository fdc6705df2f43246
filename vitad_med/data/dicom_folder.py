"""Reader of a folder of DICOM radiographs, for training on a hospital's own normals and for scoring in a bundle."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Literal

from vitad_med.data.case import Case
from vitad_med.data.dicom.intended_use import IntendedUse
from vitad_med.data.folders import dataset_folder
from vitad_med.data.splits import check_section, section_of
from vitad_med.data.worklist import SOURCE, build_worklist
from vitad_med.errors import DataError

Section = Literal["train", "val", "test", "all"]

logger = logging.getLogger(__name__)


def read_dicom_folder(
    dataset_dir: str | Path, *, section: Section = "test", val_fraction: float = 0.0, split_seed: int = 0
) -> list[Case]:
    """Read the frontal chest radiographs of a folder and of the folders in it.

    Nothing is known of the images but what their headers say: all have label 0, for training they are taken as normal.
    What is no frontal chest radiograph is left out and counted by its reason in the log
    (:mod:`vitad_med.data.dicom.triage`).

    Args:
        dataset_dir: folder of DICOM files.
        section: ``train`` all but the held-out patients, ``val`` those, ``test`` and ``all`` everything.
        val_fraction: part of the patients that is held out.
        split_seed: another seed holds out others.

    Returns:
        Cases sorted by case_id, the SOP Instance UID; patients by PatientID and issuer.

    Raises:
        DataError: a wrong folder, or no such radiograph in it.
        ConfigError: an unknown section, or ``val`` without a fraction.
    """
    check_section(section, val_fraction)
    items = build_worklist(dataset_folder(dataset_dir), IntendedUse())
    cases = [item.case for item in items if item.case is not None and item.case.source == SOURCE]
    left_out = Counter(str(item.verdict.aside) for item in items if item.verdict.aside is not None)
    if left_out:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        logger.warning("%d of %d files are left out: %s", left_out.total(), len(items), told)
    if not cases:
        raise DataError(f"dataset_dir {dataset_dir} holds no frontal chest radiograph in DICOM.")
    return section_of(sorted(cases, key=lambda case: case.case_id), section, val_fraction, split_seed)
