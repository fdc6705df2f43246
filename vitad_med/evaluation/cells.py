"""Cells: a cohort's localized images under one definition of the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitad_med.data.case import Case
from vitad_med.evaluation.cohorts import parse_key
from vitad_med.evaluation.document import LOCALIZATION_METRICS, OUTLINE_METRICS
from vitad_med.evaluation.localization import MapFigures
from vitad_med.evaluation.truth import finding_truth
from vitad_med.metrics.bootstrap import no_interval_reason

MIN_PATIENTS = 5
"""A cell with fewer patients in a class is named, not scored."""


@dataclass(frozen=True)
class Cell:
    """A cohort's localized images among those that share its truth.

    Attributes:
        index: bool [n], which of the truth's images belong to the cohort.
        patients: text [n], the patient of each of the truth's images.
    """

    index: np.ndarray
    patients: np.ndarray

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.index.sum())

    @property
    def n_patients(self) -> int:
        """Number of their patients."""
        return len(np.unique(self.patients[self.index]))

    def reason(self, min_patients: int) -> str | None:
        """Why the cell is not scored, or None."""
        if not self.index.any():
            return "no localized images"
        phrase = no_interval_reason(*self._classes(), classes=(1,), minimum=min_patients)
        return None if phrase is None else f"not scored: {phrase.replace('abnormal', 'localized')}"

    def has_interval(self) -> bool:
        """Whether there are enough patients for an interval."""
        return no_interval_reason(*self._classes(), classes=(1,)) is None

    def _classes(self) -> tuple[np.ndarray, np.ndarray]:
        return self.patients[self.index], np.ones(self.n, dtype=int)


@dataclass(frozen=True)
class Truth:
    """One definition of the truth (every box, or the boxes of one finding) and the cohorts that use it.

    Attributes:
        finding: the finding, or None for every box.
        positions: int [n], the images that have this truth, as positions among the L localized images.
        masks: bool [n, S, S].
        ignore: bool [n, S, S] of pixels that are neither, or None.
        cells: one for each cohort key.
        outlines: the masks are pixel-exact, not boxes.
    """

    finding: str | None
    positions: np.ndarray
    masks: np.ndarray
    ignore: np.ndarray | None
    cells: dict[str, Cell]
    outlines: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """Figures that this truth allows."""
        return LOCALIZATION_METRICS + OUTLINE_METRICS if self.outlines else LOCALIZATION_METRICS

    def figures(self, maps: np.ndarray, ranks: np.ndarray | None = None) -> MapFigures:
        """Figures of maps [L, S, S] on the images of this truth; within-image ranks [L, S, S] save ranking anew."""
        if len(self.positions) == len(maps):
            return MapFigures(maps, self.masks, self.ignore, ranks)
        own = maps[self.positions]
        if ranks is not None:
            ranks = own if ranks is maps else ranks[self.positions]
        return MapFigures(own, self.masks, self.ignore, ranks)


def make_truths(cases: Sequence[Case], masks: np.ndarray, members: Mapping[str, np.ndarray]) -> list[Truth]:
    """Group cohorts by finding: within a group they are subsets of the same images with the same truth.

    Args:
        cases: the L localized cases.
        masks: bool [L, S, S], their whole truth.
        members: bool [L] for each cohort key.
    """
    patients = np.array([case.patient_id for case in cases], dtype=str)
    outlines = bool(cases) and all(case.mask_path is not None for case in cases)
    findings = {key: parse_key(key).get("finding") for key in members}
    truths = []
    for finding in dict.fromkeys(findings.values()):
        positions, own, ignore = np.arange(len(cases)), masks, None
        if finding is not None:
            positions, own, ignore = finding_truth(cases, masks, finding)
        cells = {key: Cell(members[key][positions], patients[positions]) for key in members if findings[key] == finding}
        truths.append(Truth(finding, positions, own, ignore, cells, outlines))
    return truths
