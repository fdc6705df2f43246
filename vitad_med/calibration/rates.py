"""Rates of a cohort at a threshold, and what they mean at a stated prevalence, where there are enough patients."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vitad_med.evaluation.document import Value, scored, unscored
from vitad_med.metrics.bootstrap import MINIMUM_PATIENTS
from vitad_med.metrics.operating import operating_point
from vitad_med.metrics.proportions import Estimate

FIGURES = ("false_positive_rate", "sensitivity", "alarms_per_100", "ppv", "npv")


class CohortRates:
    """Flags of all images, from which cohorts are taken.

    Args:
        labels: 0 normal or 1 abnormal, [N].
        patients: [N].
        flagged: bool [N].
        served: bool [N], normal images that set the threshold: they take part in no figure.
        prevalence: share of abnormal studies for alarms, PPV and NPV, in (0, 1).
        min_patients: patients that a class needs for a figure; intervals need 20.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        patients: NDArray,
        flagged: NDArray[np.bool_],
        served: NDArray[np.bool_],
        prevalence: float,
        min_patients: int,
    ) -> None:
        self.labels = labels
        self.patients = patients
        self.flagged = flagged
        self.served = served
        self.prevalence = prevalence
        self.min_patients = min_patients

    def cohort(self, members: NDArray[np.bool_]) -> dict[str, Value]:
        """The figures ``FIGURES`` of the cohort bool [N]; see :class:`vitad_med.metrics.operating.OperatingPoint`.

        ``n`` counts the normal images of the false-positive rate, the abnormal ones of the sensitivity, and both for
        the others.
        """
        inside = members & ~self.served
        labels, patients, flags = self.labels[inside], self.patients[inside], self.flagged[inside]
        normal, abnormal = (len(np.unique(patients[labels == label])) for label in (0, 1))
        no_rate = self._reason(normal, "normal")
        no_sensitivity = self._reason(abnormal, "abnormal")
        found = operating_point(flags, labels, patients, self.prevalence)
        figures = {
            "false_positive_rate": _figure(
                found.false_positive_rate, int((labels == 0).sum()), normal, no_rate, "no normal images"
            ),
            "sensitivity": _figure(
                found.sensitivity, int(labels.sum()), abnormal, no_sensitivity, "no abnormal images"
            ),
        }
        fewest, reason = min(normal, abnormal), no_rate or no_sensitivity
        for name, undefined in (
            ("alarms_per_100", ""),
            ("ppv", "nothing is flagged"),
            ("npv", "everything is flagged"),
        ):
            figure = _figure(getattr(found, name), len(labels), fewest, reason, undefined)
            if name in ("ppv", "npv") and figure["low"] is None and figure["value"] in (0.0, 1.0):
                # Certainty that only a handful of images vouches for is none.
                figure = unscored("too few patients: not one image was judged wrongly, or not one rightly", len(labels))
            figures[name] = figure
        return figures

    def _reason(self, patients: int, kind: str) -> str | None:
        if not patients:
            beyond = " beyond those that set the threshold" if kind == "normal" and self.served.any() else ""
            return f"no {kind} images{beyond}"
        if patients < self.min_patients:
            noun = "patient" if patients == 1 else "patients"
            return f"not scored: {patients} {noun} with {kind} images, fewer than {self.min_patients}"
        return None


def _figure(estimate: Estimate, n: int, patients: int, reason: str | None, undefined: str) -> Value:
    if reason is not None:
        return unscored(reason, n)
    if math.isnan(estimate.value):
        return unscored(undefined, n)
    ends = (estimate.low, estimate.high)
    if patients < MINIMUM_PATIENTS or any(math.isnan(end) for end in ends):
        return scored(estimate.value, n)
    return scored(estimate.value, n, ends)
