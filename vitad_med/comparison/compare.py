"""Is one method better than another? Paired differences on the same images, cohort by cohort.

Both methods are evaluated on the same bootstrap replicates of patients, so that what the images share cancels. p-values
are those of the bootstrap, twice the share of replicates on the far side of 0; those of the two primary metrics are
adjusted over all cohorts by Holm's method. The image AUROC is cross-checked with clustered DeLong.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vitad_med.comparison.document import (
    COMPARISON_SCHEMA,
    ComparedCohort,
    ComparedFigure,
    Comparison,
    DelongDifference,
    Side,
)
from vitad_med.comparison.matching import Match, match_cases
from vitad_med.comparison.paired_figures import (
    IMAGE,
    LOCALIZATION,
    Drawn,
    absent,
    compared,
    delong_difference,
    image_figures,
    localization_figures,
)
from vitad_med.comparison.verdict import localizes_better
from vitad_med.data.case import Case
from vitad_med.errors import ConfigError, DataError
from vitad_med.evaluation.cells import MIN_PATIENTS, make_truths
from vitad_med.evaluation.cohorts import ALL, cohort_keys, cohort_name, select
from vitad_med.evaluation.truth import truth_masks
from vitad_med.metrics.bootstrap import MINIMUM_PATIENTS, patient_weights
from vitad_med.metrics.gaps import holm
from vitad_med.predictions.records import Predictions

PRIMARY = ("conditioned_auroc", "image_auroc")

_CLASSES = {0: "normal", 1: "abnormal"}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Sample:
    """The shared images and how figures are made of them."""

    cases: Sequence[Case]
    weights: NDArray[np.uint16]
    level: float
    min_patients: int
    public: bool

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        return np.array([case.label for case in self.cases])

    @cached_property
    def patients(self) -> NDArray[np.str_]:
        return np.array([case.patient_id for case in self.cases])

    def fewest(self, images: NDArray[np.int64], classes: Collection[int]) -> int:
        """Patients in the smallest of the classes among the images (positions)."""
        labels, patients = self.labels[images], self.patients[images]
        return min(len(np.unique(patients[labels == wanted])) for wanted in classes)

    def reason(self, images: NDArray[np.int64], classes: Collection[int], noun: str | None = None) -> str | None:
        """Why these images carry no figure, or None; the number of patients is not told, it may be a small one."""
        for wanted in classes:
            found = self.fewest(images, (wanted,))
            what = noun or _CLASSES[wanted]
            if not found:
                return f"no {what} images"
            if found < self.min_patients:
                return f"fewer than {self.min_patients} patients with {what} images"
        return None

    def count(self, number: int, images: NDArray[np.int64]) -> int | None:
        """The number of these images or of their patients, None where it is suppressed."""
        patients = len(np.unique(self.patients[images]))
        return number if self.public or not patients or patients >= self.min_patients else None


def compare_runs(
    a: Predictions,
    b: Predictions,
    *,
    by: Sequence[Sequence[str]] = (("sex",), ("view",)),
    common: bool = False,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    min_patients: int = MIN_PATIENTS,
) -> Comparison:
    """Compare two runs; every difference is B minus A.

    Args:
        a: the first run.
        b: the second, on the same images and the same grid.
        by: cohorts beside ``all``, each a tuple of axes to cross.
        common: compare the images that both runs have, in place of refusing when some are in one only.
        replicates: bootstrap replicates, shared by all figures.
        seed: of the bootstrap.
        level: of the intervals; 1 - level is also the error that "yes" and "no" allow for all cohorts together.
        min_patients: patients that each class of a cohort needs for a figure.

    Returns:
        The document. A run compared with itself differs by exactly 0 everywhere.

    Raises:
        DataError: the runs have other images, other truth or other grids.
        ConfigError: a cohort axis that does not exist, or a setting out of range.
    """
    if replicates < 1 or min_patients < 1 or not 0 < level < 1:
        raise ConfigError(
            f"replicates {replicates} and min_patients {min_patients} must be at least 1, level {level} in (0, 1)."
        )
    if a.eval_size != b.eval_size:
        raise DataError(
            f"RUN_A has its maps on a grid of {a.eval_size} pixels and RUN_B of {b.eval_size}; give --eval_size to "
            "read both on one grid."
        )
    match = match_cases(a.cases, b.cases, a.eval_size, common=common)
    members = {key: select(match.cases, key) for key in cohort_keys(match.cases, by)}
    weights = patient_weights(
        [case.patient_id for case in match.cases], [case.label for case in match.cases], replicates, seed
    )
    sample = _Sample(match.cases, weights, level, min_patients, bool(a.journal.public and b.journal.public))
    notes = _notes(match)
    sizes, localization = _localization(a, b, match, members, sample, notes)
    scores = (a.scores[match.a], b.scores[match.b])
    figures = {key: _image(scores, np.flatnonzero(members[key]), sample) | localization[key] for key in members}
    tested = [figures[key][name] for key in members for name in PRIMARY]
    _adjust(tested)
    notes += _resolution(sum(figure["p"] is not None for figure in tested), replicates, level)
    cohorts: dict[str, ComparedCohort] = {}
    for key, inside in members.items():
        images = np.flatnonzero(inside)
        name = "all images" if key == ALL else cohort_name(key)
        cohorts[key] = {
            "name": name,
            "n_images": sample.count(len(images), images),
            "n_patients": sample.count(len(np.unique(sample.patients[images])), images),
            "n_localized": sizes[key],
            "metrics": figures[key],
            "delong": _crosscheck(scores, images, sample),
            "verdict": localizes_better(name, figures[key]["conditioned_auroc"], level),
        }
    return {
        "schema": COMPARISON_SCHEMA,
        "a": _side(a, match.only_a),
        "b": _side(b, match.only_b),
        "public": sample.public,
        "settings": {
            "cohorts": [":".join(axes) for axes in by],
            "replicates": replicates,
            "seed": seed,
            "level": level,
            "eval_size": a.eval_size,
            "min_patients": min_patients,
            "interval_patients": MINIMUM_PATIENTS,
            "primary": list(PRIMARY),
        },
        "cohorts": cohorts,
        "notes": notes,
    }


def _side(run: Predictions, only_here: int) -> Side:
    journal = run.journal
    return {
        "method": journal.method,
        "model_digest": journal.model_digest,
        "pipeline_digest": journal.pipeline_digest,
        "backend_digest": journal.backend_digest,
        "digest": run.digest,
        "only_here": only_here,
    }


def _notes(match: Match) -> list[str]:
    notes = []
    if match.only_a or match.only_b:
        notes.append(
            f"{len(match.cases)} shared images were compared, {match.only_a} of A and {match.only_b} of B left out."
        )
    return notes


def _resolution(tests: int, replicates: int, level: float) -> list[str]:
    """A bootstrap p-value is at least 2 / (R + 1); multiplied by many tests it can never be small."""
    needed = int(np.ceil(2 * tests / (1 - level)))
    if replicates >= needed:
        return []
    return [f"{replicates} replicates cannot answer yes or no for {tests} tests together; {needed} can."]


def _image(
    scores: tuple[NDArray[np.float64], NDArray[np.float64]], images: NDArray[np.int64], sample: _Sample
) -> dict[str, ComparedFigure]:
    reason, n = sample.reason(images, (0, 1)), sample.count(len(images), images)
    if reason is not None:
        return {name: absent(reason, n) for name in IMAGE}
    patients = sample.fewest(images, (0, 1))
    weights = sample.weights[:, images] if patients >= MINIMUM_PATIENTS else None
    a, b = (image_figures(side[images], sample.labels[images], weights) for side in scores)
    return {name: compared(a[name], b[name], n, patients, sample.level, name in PRIMARY) for name in IMAGE}


def _crosscheck(
    scores: tuple[NDArray[np.float64], NDArray[np.float64]], images: NDArray[np.int64], sample: _Sample
) -> DelongDifference | None:
    if sample.reason(images, (0, 1)) is not None or sample.fewest(images, (0, 1)) < MINIMUM_PATIENTS:
        return None
    pair = np.stack([side[images] for side in scores])
    return delong_difference(pair, sample.labels[images], sample.patients[images], sample.level)


def _localization(
    a: Predictions,
    b: Predictions,
    match: Match,
    members: dict[str, NDArray[np.bool_]],
    sample: _Sample,
    notes: list[str],
) -> tuple[dict[str, int | None], dict[str, dict[str, ComparedFigure]]]:
    """Number of localized images and localization figures of every cohort; one run's maps are in memory at a time."""
    wanted = [index for index, case in enumerate(match.cases) if case.localized]
    local = np.array([i for i in wanted if a.has_map(int(match.a[i])) and b.has_map(int(match.b[i]))], dtype=np.int64)
    if len(local) < len(wanted):
        notes.append(f"{len(wanted) - len(local)} localized images without a map in both runs are left out of it.")
    cases, size = [match.cases[i] for i in local], a.eval_size
    truths = make_truths(cases, truth_masks(cases, size), {key: inside[local] for key, inside in members.items()})
    images = {key: local[t.positions][cell.index] for t in truths for key, cell in t.cells.items()}
    reasons = {key: sample.reason(own, (1,), "localized") for key, own in images.items()}
    scored = [key for key, reason in reasons.items() if reason is None]
    broad = [key for key in scored if sample.fewest(images[key], (1,)) >= MINIMUM_PATIENTS]
    sides: list[dict[str, dict[str, Drawn]]] = []
    for run, places in ((a, match.a), (b, match.b)) if scored else ():
        _logger.info("localization figures of %d images", len(local))
        maps = np.stack([run.map(int(places[i])) for i in local])
        sides.append({})
        for truth in truths:
            sides[-1] |= localization_figures(maps, truth, sample.weights[:, local], scored, broad)
    figures = {}
    sizes = {}
    for key in members:
        own, reason = images[key], reasons[key]
        sizes[key] = sample.count(len(own), own)
        figures[key] = {
            name: absent(reason, sizes[key])
            if reason is not None
            else compared(
                sides[0][key][name],
                sides[1][key][name],
                sizes[key],
                sample.fewest(own, (1,)),
                sample.level,
                name in PRIMARY,
            )
            for name in LOCALIZATION
        }
    return sizes, figures


def _adjust(figures: Sequence[ComparedFigure]) -> None:
    """Holm's p-values over the primary metrics of all cohorts."""
    for figure, adjusted in zip(figures, holm([figure["p"] for figure in figures]), strict=True):
        figure["p_holm"] = adjusted
