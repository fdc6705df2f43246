"""Image-level figures of a cohort, each with its interval, beside what metadata alone would score."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vitad_med.data.case import UNKNOWN, Case
from vitad_med.errors import DataError
from vitad_med.evaluation.document import IMAGE_METRICS, Value, scored, unscored
from vitad_med.evaluation.intervals import LEVEL, difference_interval, fewest_patients, figure_interval
from vitad_med.metrics.bootstrap import no_interval_reason
from vitad_med.metrics.image import (
    image_auroc,
    image_average_precision,
    metadata_null,
    stratified_auroc,
    view_age_strata,
)

_BLOCK = 250
_CLASSES = {0: "normal", 1: "abnormal"}

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None], float | np.ndarray]


class ImageFigures:
    """Scores, labels, strata and the metadata null of all images, from which cohorts are taken.

    Args:
        cases: N cases.
        scores: finite float [N].
        weights: bootstrap weights [R, N].
        min_patients: patients that each class needs for a figure at all.
        level: of the intervals.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        scores: np.ndarray,
        weights: np.ndarray,
        min_patients: int,
        level: float = LEVEL,
    ) -> None:
        self.labels = np.array([case.label for case in cases])
        self.patients = np.array([case.patient_id for case in cases])
        self.strata = view_age_strata(cases)
        self.scores = scores
        self.weights = weights
        self.min_patients = min_patients
        self.level = level
        self.null_scores: np.ndarray | None = None
        self.null_reason = "no age, sex or view is known"
        if any(case.age is not None or case.sex != UNKNOWN or case.view != UNKNOWN for case in cases):
            try:
                self.null_scores = metadata_null(cases)
            except DataError as error:
                self.null_reason = str(error).rstrip(".")

    def cohort(self, index: np.ndarray) -> dict[str, Value]:
        """The image metrics of the cohort bool [N]."""
        return self.cohort_beside_metadata(index)[0]

    def cohort_beside_metadata(self, index: np.ndarray) -> tuple[dict[str, Value], Value]:
        """The image metrics of the cohort bool [N], and the paired difference ``image_auroc - metadata_null_auroc``."""
        labels, patients = self.labels[index], self.patients[index]
        n = int(index.sum())
        reason = self._too_small(labels, patients)
        if reason is not None:
            return {name: unscored(reason, n) for name in IMAGE_METRICS}, unscored(reason, n)
        few = no_interval_reason(patients, labels) is not None
        own = self._drawn(index, self.scores, _auroc, few)
        figures = {
            "image_auroc": self._value(index, own),
            "image_ap": self._value(index, self._drawn(index, self.scores, _average_precision, few)),
            "image_auroc_conditioned": self._conditioned(index, few),
        }
        if self.null_scores is None:
            none = unscored(self.null_reason, n)
            return {**figures, "metadata_null_auroc": none}, none
        null = self._drawn(index, self.null_scores, _auroc, few)
        ends = None
        if own[1] is not None and null[1] is not None:
            ends = difference_interval(own[1] - null[1], fewest_patients(patients, labels), self.level)
        difference = scored(own[0] - null[0], n, ends)
        return {**figures, "metadata_null_auroc": self._value(index, null)}, difference

    def _too_small(self, labels: np.ndarray, patients: np.ndarray) -> str | None:
        for label, name in _CLASSES.items():
            if not (labels == label).any():
                return f"no {name} images"
        phrase = no_interval_reason(patients, labels, minimum=self.min_patients)
        return None if phrase is None else f"not scored: {phrase}"

    def _conditioned(self, index: np.ndarray, few: bool) -> Value:
        """AUROC over pairs of one view and age band; images of a stratum with one class only take no part."""
        used = index.copy()
        for stratum in np.unique(self.strata[index]):
            inside = index & (self.strata == stratum)
            if len(np.unique(self.labels[inside])) < 2:
                used &= ~inside
        if set(self.strata[index]) == {f"{UNKNOWN}|{UNKNOWN}"}:
            return unscored("neither view nor age is known", 0)
        if not used.any():
            return unscored("no view and age band holds normal and abnormal images", 0)
        few = few or no_interval_reason(self.patients[used], self.labels[used]) is not None
        return self._value(used, self._drawn(used, self.scores, stratified_auroc, few))

    def _drawn(
        self, index: np.ndarray, scores: np.ndarray, metric: Metric, few: bool
    ) -> tuple[float, np.ndarray | None]:
        """A figure and its replicates [R], None with too few patients for an interval."""
        arguments = (scores[index], self.labels[index], self.strata[index])
        value = float(metric(*arguments, None))
        if few:
            return value, None
        weights = self.weights[:, index]
        blocks = [metric(*arguments, weights[start : start + _BLOCK]) for start in range(0, len(weights), _BLOCK)]
        return value, np.concatenate([np.asarray(block) for block in blocks])

    def _value(self, index: np.ndarray, drawn: tuple[float, np.ndarray | None]) -> Value:
        value, replicates = drawn
        ends = None
        if replicates is not None:
            patients = fewest_patients(self.patients[index], self.labels[index])
            ends = figure_interval(value, replicates, patients, self.level)
        return scored(value, int(index.sum()), ends)


def _auroc(
    scores: np.ndarray, labels: np.ndarray, strata: np.ndarray, weights: np.ndarray | None
) -> float | np.ndarray:
    return image_auroc(scores, labels, weights)


def _average_precision(
    scores: np.ndarray, labels: np.ndarray, strata: np.ndarray, weights: np.ndarray | None
) -> float | np.ndarray:
    return image_average_precision(scores, labels, weights)
