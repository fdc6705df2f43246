"""The operating point of a run: a threshold from normal images alone, and what it does in every cohort.

Split conformal prediction: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005); conformal
p-values for outliers and the distribution of the rate over calibration sets: Bates et al., Testing for outliers with
conformal p-values, Annals of Statistics 51 (2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitad_med.calibration.document import Calibration
from vitad_med.calibration.rates import FIGURES, CohortRates
from vitad_med.calibration.reference import split_patients
from vitad_med.data.case import Case
from vitad_med.errors import ConfigError, DataError
from vitad_med.evaluation.document import rounded, unscored
from vitad_med.evaluation.summary import MIN_PATIENTS
from vitad_med.metrics.conformal import (
    Threshold,
    conformal_p_values,
    lowest_rate,
    threshold,
    training_conditional_bound,
)

CONFIDENCE = 0.95
CALIBRATION_PART = 0.5
"""Part of a run's normal patients that set the threshold where no calibration is given; the others check it."""

Counts = dict[str, int]


def operating_point(
    cases: Sequence[Case],
    scores: NDArray[np.float64],
    members: Mapping[str, NDArray[np.bool_]],
    *,
    rate: float = 0.1,
    prevalence: float = 0.05,
    seed: int = 0,
    min_patients: int = MIN_PATIENTS,
    calibration: Calibration | None = None,
) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[np.bool_]]:
    """Threshold, its bound and check, and the figures of every cohort.

    Without a calibration the run's own normal patients are divided by hash into halves: one image each of the first
    half sets the threshold, the second half measures the false-positive rate. Normal images of the first half take part
    in no false-positive figure of any cohort. With a calibration every normal image of the run measures.

    The rate holds for the average over calibration sets and new patients: k of n + 1, k = floor((n + 1) rate). For the
    one calibration at hand it is Beta(k, n + 1 - k) distributed where scores have no ties (with ties it is lower), of
    which ``bound.upper`` is the 95 % quantile.

    Args:
        cases: N cases.
        scores: finite float64 [N], higher is more anomalous.
        members: cohort key -> bool [N]; ``all`` among them.
        rate: false-positive rate asked for, in (0, 1).
        prevalence: share of abnormal studies for alarms, PPV and NPV, in (0, 1).
        seed: of the halves and of the draw of one image a patient.
        min_patients: patients of a class that a figure needs.
        calibration: one that belongs to this run, see :func:`vitad_med.calibration.binding.check_binding`.

    Returns:
        The block ``operating_point`` of report.json; p-values float64 [N], NaN for normal images of the run's own
        calibration patients (and everywhere when there are no calibration patients); flagged bool [N], score above the
        threshold, False everywhere when there is none.

    Raises:
        ConfigError: a rate or prevalence outside (0, 1).
        DataError: lengths differ or scores are not finite.
    """
    values = _checked(cases, scores, rate, prevalence)
    names = [case.case_id for case in cases]
    patients = np.array([case.patient_id for case in cases])
    labels = np.array([case.label for case in cases])
    served = np.zeros(len(cases), dtype=bool)
    if calibration is not None:
        reference = calibration.scores
        counts: Counts = {"images": calibration.images, "patients": calibration.patients}
        check = calibration.check
    else:
        normal = np.flatnonzero(labels == 0)
        split = split_patients(
            [names[i] for i in normal], [str(patients[i]) for i in normal], 1 - CALIBRATION_PART, seed
        )
        served[normal[split.calibration]] = True
        reference = np.sort(values[normal[split.drawn]])
        counts = {"images": len(split.calibration), "patients": len(split.drawn)}
        check = None
    n = len(reference)
    found, reason = _find(reference, rate)
    flagged = np.zeros(len(cases), dtype=bool) if found is None else found.flags(values)
    p_values = np.full(len(cases), np.nan)
    if n:
        p_values[~served] = conformal_p_values(reference, values[~served])
    rates = CohortRates(labels, patients, flagged, served, prevalence, min_patients)
    cohorts = {
        key: ({name: unscored(reason, 0) for name in FIGURES} if reason else rates.cohort(inside))
        for key, inside in members.items()
    }
    if calibration is None and n:
        in_check = (labels == 0) & ~served
        check = {
            "images": int(in_check.sum()),
            "patients": len(np.unique(patients[in_check])),
            "false_positive_rate": unscored(reason, 0)
            if reason
            else rates.cohort(np.ones(len(cases), dtype=bool))["false_positive_rate"],
        }
    elif calibration is not None and rate != calibration.false_positive_rate:
        # The stored check was made at the calibration's own rate; at another one it would say something else.
        check = None
    block = {
        "source": "run" if calibration is None else "calibration",
        "calibration_digest": None if calibration is None else calibration.digest,
        "false_positive_rate": rate,
        # Not rounded: a score between the threshold and its rounding would be flagged here and not by the reader.
        "threshold": None if found is None else found.value,
        "reason": reason,
        "calibration": counts,
        "lowest_rate": rounded(lowest_rate(n)) if n else None,
        "bound": None if found is None else rate_bound(found),
        "check": check,
        "prevalence": prevalence,
        "cohorts": cohorts,
    }
    return block, p_values, flagged


def rate_bound(found: Threshold) -> dict[str, float]:
    """What a threshold promises: the expected rate, and the bound of the one calibration at hand.

    Returns:
        ``expected`` k / (n + 1), ``upper`` the 95 % quantile of Beta(k, n + 1 - k), and ``confidence``.
    """
    return {
        "expected": rounded(found.expected),
        "upper": rounded(training_conditional_bound(found.n, found.k, CONFIDENCE)),
        "confidence": CONFIDENCE,
    }


def _find(reference: NDArray[np.float64], rate: float) -> tuple[Threshold | None, str | None]:
    """The threshold, or why there is none."""
    if not len(reference):
        return None, "no normal image to set a threshold with"
    try:
        return threshold(reference, rate), None
    except DataError as error:
        return None, str(error).rstrip(".")


def _checked(cases: Sequence[Case], scores: NDArray[np.float64], rate: float, prevalence: float) -> NDArray[np.float64]:
    if not 0 < rate < 1:
        raise ConfigError(f"false_positive_rate is {rate}; give a share of normal images between 0 and 1, e.g. 0.1.")
    if not 0 < prevalence < 1:
        raise ConfigError(f"prevalence is {prevalence}; give a share of abnormal studies between 0 and 1, e.g. 0.05.")
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(cases),):
        raise DataError(f"{values.size} scores do not belong to {len(cases)} images; give one to each image.")
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} of {len(cases)} scores are NaN or infinite.")
    return values
