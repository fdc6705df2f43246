"""Patient-level splits, and digests that say which data a result came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vitad_med.data.case import Case
from vitad_med.data.packed import content_digest
from vitad_med.errors import ConfigError, DataError


def held_out_ids(patient_ids: Iterable[str], fraction: float, seed: int) -> set[str]:
    """Choose round(fraction * patients) patients, at least one when fraction > 0.

    Patients are ranked by SHA-256 of seed and id, so the choice depends on no library's random generator and on no
    order.

    Raises:
        ConfigError: fraction outside [0, 1).
        DataError: nobody would be left on one side.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"val_fraction is {fraction}; give a fraction of patients of at least 0 and below 1.")
    patients = sorted(set(patient_ids))
    if fraction == 0 or not patients:
        return set()
    count = max(1, round(fraction * len(patients)))
    if count >= len(patients):
        raise DataError(
            f"A val_fraction of {fraction} of {len(patients)} patients leaves no patient to train on; lower it."
        )
    ranked = sorted(patients, key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest())
    return set(ranked[:count])


def hold_out_patients(cases: Sequence[Case], fraction: float, seed: int = 0) -> tuple[list[Case], list[Case]]:
    """Split cases by patient.

    Returns:
        (kept, held): all images of a patient are in the same list; order is preserved; `Case.split` is unchanged.
    """
    held = held_out_ids((case.patient_id for case in cases), fraction, seed)
    return (
        [case for case in cases if case.patient_id not in held],
        [case for case in cases if case.patient_id in held],
    )


def patients_in_several_splits(cases: Iterable[Case]) -> list[str]:
    """Patient ids that occur in more than one of train, val and test, sorted."""
    splits: dict[str, set[str]] = {}
    for case in cases:
        splits.setdefault(case.patient_id, set()).add(case.split)
    return sorted(patient for patient, found in splits.items() if len(found) > 1)


def check_section(section: str, val_fraction: float) -> None:
    """Raise ConfigError for an unknown section, or ``val`` without a fraction."""
    if section not in ("train", "val", "test", "all"):
        raise ConfigError(f"section is {section!r}; use train, val, test or all.")
    if section == "val" and val_fraction == 0:
        raise ConfigError("section 'val' needs a val_fraction above 0.")


def section_of(cases: Sequence[Case], section: str, val_fraction: float, split_seed: int) -> list[Case]:
    """One section of images of which nothing is known but their patients.

    Args:
        cases: all of them.
        section: ``train`` all but the held-out patients, ``val`` those, ``test`` and ``all`` everything.
        val_fraction, split_seed: see :func:`hold_out_patients`.

    Raises:
        ConfigError: see :func:`check_section`.
        DataError: nobody is left to train on.
    """
    check_section(section, val_fraction)
    if section in ("test", "all"):
        return list(cases)
    kept, held = hold_out_patients([replace(case, split="train") for case in cases], val_fraction, split_seed)
    return kept if section == "train" else [replace(case, split="val") for case in held]


def split_digest(cases: Iterable[Case]) -> str:
    """SHA-256 (hex) over the sorted (split, case_id, patient_id, label): who is on which side, not the pixels."""
    return split_digest_of_rows((case.split, case.case_id, case.patient_id, case.label) for case in cases)


def split_digest_of_rows(rows: Iterable[tuple[str, str, str, int]]) -> str:
    """`split_digest` for rows (split, case_id, patient_id, label) of a table."""
    lines = sorted(f"{split}\t{case_id}\t{patient_id}\t{label}\n" for split, case_id, patient_id, label in rows)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def data_digest(cases: Iterable[Case]) -> str:
    """SHA-256 (hex) over the cases' rows, boxes and the content of their image and mask files.

    Equal wherever the same files lie. Reads every file once (about 1 s for a gigabyte), decodes none.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for case in sorted(cases, key=lambda case: (case.split, case.case_id)):
        row = [case.split, case.case_id, case.patient_id, case.label, case.sex, case.view, case.age, case.findings]
        boxes = [(box.x, box.y, box.width, box.height, box.finding) for box in case.boxes]
        digest.update(repr([*row, boxes]).encode())
        digest.update(content_digest(case.image_path))
        digest.update(content_digest(case.mask_path) if case.mask_path else b"-")
    return digest.hexdigest()
