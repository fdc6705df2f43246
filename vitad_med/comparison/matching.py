"""Two runs on the same images: which belong together, and whether both mean the same truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vitad_med.data.case import UNKNOWN, Case
from vitad_med.errors import DataError
from vitad_med.evaluation.truth import truth_masks

_BOX_DECIMALS = 6
T = TypeVar("T")


@dataclass(frozen=True)
class Match:
    """Images that two runs have in common.

    Attributes:
        cases: N records sorted by name; what one run does not know of an image is taken from the other.
        a: positions of the images in the first run, int [N].
        b: positions in the second.
        only_a: number of images that the second run lacks.
        only_b: number that the first lacks.
    """

    cases: tuple[Case, ...]
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    only_a: int
    only_b: int


def match_cases(a: Sequence[Case], b: Sequence[Case], eval_size: int, *, common: bool = False) -> Match:
    """Match images by name.

    Args:
        a: cases of the first run, each name once.
        b: cases of the second.
        eval_size: side of the grid on which masks are compared.
        common: leave out images that one run lacks, in place of refusing.

    Raises:
        DataError: the runs differ in their images, or contradict each other about the same image; the message counts
            the images and names none.
    """
    place_a = {case.case_id: index for index, case in enumerate(a)}
    place_b = {case.case_id: index for index, case in enumerate(b)}
    names = sorted(place_a.keys() & place_b.keys())
    only_a, only_b = len(a) - len(names), len(b) - len(names)
    if not names:
        raise DataError(
            "The two runs have no image name in common; compare runs on the same images, and where names are hashed "
            "hash both with the same key."
        )
    if (only_a or only_b) and not common:
        raise DataError(
            f"The runs share {len(names)} images, but RUN_A has {only_a} that RUN_B lacks and RUN_B has {only_b} that "
            "RUN_A lacks; score the same images with both, or compare the shared ones with --common."
        )
    mine, theirs = [a[place_a[name]] for name in names], [b[place_b[name]] for name in names]
    mine, theirs = _same_patients(mine, theirs)
    faults: Counter[str] = Counter()
    merged = [_merge(one, other, eval_size, faults) for one, other in zip(mine, theirs, strict=True)]
    if faults:
        what = ", ".join(f"the {name} of {number}" for name, number in sorted(faults.items()))
        raise DataError(
            f"The runs contradict each other on {len(names)} shared images: they differ in {what}; make both tables "
            "from the same truth."
        )
    return Match(
        tuple(merged),
        np.array([place_a[name] for name in names]),
        np.array([place_b[name] for name in names]),
        only_a,
        only_b,
    )


def _same_patients(a: list[Case], b: list[Case]) -> tuple[list[Case], list[Case]]:
    """A table without patients names each image as its own; the other table knows better."""
    if all(case.patient_id == case.case_id for case in a):
        a = [replace(case, patient_id=other.patient_id) for case, other in zip(a, b, strict=True)]
    elif all(case.patient_id == case.case_id for case in b):
        b = [replace(case, patient_id=other.patient_id) for case, other in zip(b, a, strict=True)]
    return a, b


def _merge(a: Case, b: Case, eval_size: int, faults: Counter[str]) -> Case:
    """One record of both; what they contradict each other in is counted."""
    faults.update(name for name in ("label", "patient_id") if getattr(a, name) != getattr(b, name))
    if _boxes(a) != _boxes(b):
        faults["boxes"] += 1
    if not _same_mask(a.mask_path, b.mask_path, a, b, eval_size):
        faults["mask"] += 1
    columns = dict(b.columns)
    for name, value in a.columns:
        columns[name] = _known(name, value, columns.get(name, UNKNOWN), UNKNOWN, faults)
    return replace(
        a,
        sex=_known("sex", a.sex, b.sex, UNKNOWN, faults),
        view=_known("view", a.view, b.view, UNKNOWN, faults),
        age=_known("age", a.age, b.age, None, faults),
        group=_known("group", a.group, b.group, "", faults),
        findings=_known("findings", tuple(sorted(a.findings)), tuple(sorted(b.findings)), (), faults),
        columns=tuple(sorted(columns.items())),
    )


def _known(name: str, a: T, b: T, unknown: T, faults: Counter[str]) -> T:
    if a != b and unknown not in (a, b):
        faults[name] += 1
    return b if a == unknown else a


def _boxes(case: Case) -> list[tuple[float | str, ...]]:
    return sorted(
        (*(round(end, _BOX_DECIMALS) for end in (box.x, box.y, box.width, box.height)), box.finding)
        for box in case.boxes
    )


def _same_mask(path_a: Path | None, path_b: Path | None, a: Case, b: Case, eval_size: int) -> bool:
    if path_a is None or path_b is None or path_a == path_b:
        return path_a == path_b
    return bool(np.array_equal(truth_masks([a], eval_size), truth_masks([b], eval_size)))
