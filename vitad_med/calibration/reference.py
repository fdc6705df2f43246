"""From a site's own normal images to a calibration, with a check of its rate on patients that had no part in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitad_med.calibration.binding import required_digests
from vitad_med.calibration.document import Calibration
from vitad_med.calibration.image_set import patients_known
from vitad_med.calibration.rates import CohortRates
from vitad_med.data.case import Case
from vitad_med.data.registry import PUBLIC_SOURCES
from vitad_med.data.splits import held_out_ids
from vitad_med.errors import ConfigError, DataError
from vitad_med.evaluation.cohorts import ALL, cohort_keys, select
from vitad_med.evaluation.summary import MIN_PATIENTS
from vitad_med.metrics.conformal import one_image_per_patient, threshold

_SAMPLE = 2000
"""Most values of an intensity that are kept: order statistics at even ranks describe more."""


@dataclass(frozen=True)
class Split:
    """Images of a calibration.

    Attributes:
        calibration: images of the calibration patients, int.
        drawn: one of them a patient, int [n].
        check: images of the held-out patients, int.
    """

    calibration: NDArray[np.int64]
    drawn: NDArray[np.int64]
    check: NDArray[np.int64]


def split_patients(names: Sequence[str], patients: Sequence[str], fraction: float, seed: int) -> Split:
    """Hold patients out for the check and draw one image of each of the others.

    Args:
        names: image of each row, [N].
        patients: patient of each row, [N].
        fraction: part of the patients to hold out, in [0, 1); one patient alone is never held out.
        seed: of both choices; neither depends on the order of the rows.
    """
    held = held_out_ids(patients, fraction, seed) if len(set(patients)) > 1 else set()
    in_check = np.array([patient in held for patient in patients], dtype=bool)
    calibration = np.flatnonzero(~in_check)
    drawn = calibration[one_image_per_patient(np.array(patients)[calibration], np.array(names)[calibration], seed)]
    return Split(calibration, drawn, np.flatnonzero(in_check))


def build_calibration(
    cases: Sequence[Case],
    scores: NDArray[np.float64],
    intensities: Mapping[str, NDArray[np.float64]],
    digests: Mapping[str, str | None],
    *,
    false_positive_rate: float = 0.1,
    check_fraction: float = 0.3,
    seed: int = 0,
    method: str | None = None,
    created: str | None = None,
) -> Calibration:
    """Calibrate on normal images.

    Args:
        cases: N normal images that the model was not trained on.
        scores: float64 [N], finite, higher is more anomalous.
        intensities: quantity -> float64 [N].
        digests: ``model_digest``, ``pipeline_digest``, ``backend_digest`` and, if known, ``data_digest`` of the run.
        false_positive_rate: share of normal images of new patients that may be flagged, in (0, 1).
        check_fraction: part of the patients held out to check the rate, in [0, 1).
        seed: of the held-out patients and of the draw of one image a patient.
        method: name of the method.
        created: time of the run that scored the images.

    Raises:
        ConfigError: a rate that so few patients cannot reach, a fraction outside its range, a run without digests.
        DataError: an abnormal image, a score that is not finite, or lengths that differ.
    """
    bound_to = required_digests(digests)
    values = _checked(cases, scores, intensities, false_positive_rate)
    patients = [case.patient_id for case in cases]
    if not 0 <= check_fraction < 1:
        raise ConfigError(f"check_fraction is {check_fraction}; give a part of the patients of at least 0 and below 1.")
    split = split_patients([case.case_id for case in cases], patients, check_fraction, seed)
    calibration_scores = np.sort(values[split.drawn])
    limit = _threshold(calibration_scores, len(set(patients)), false_positive_rate)
    return Calibration(
        scores=calibration_scores,
        images=len(split.calibration),
        false_positive_rate=false_positive_rate,
        threshold=limit,
        seed=seed,
        check_fraction=check_fraction,
        check=_check(cases, values, split.check, limit),
        patients_known=patients_known(cases),
        cohorts=_cohort_counts([cases[index] for index in split.calibration]),
        intensities={name: _sample(np.asarray(column)[split.drawn]) for name, column in intensities.items()},
        model_digest=bound_to["model_digest"],
        pipeline_digest=bound_to["pipeline_digest"],
        backend_digest=bound_to["backend_digest"],
        data_digest=digests.get("data_digest"),
        method=method,
        created=created,
    )


def _checked(
    cases: Sequence[Case], scores: NDArray[np.float64], intensities: Mapping[str, NDArray[np.float64]], rate: float
) -> NDArray[np.float64]:
    if not 0 < rate < 1:
        raise ConfigError(f"false_positive_rate is {rate}; give a share of normal images between 0 and 1, e.g. 0.1.")
    if not cases:
        raise DataError("there is no normal image to calibrate on; give a folder of normal images.")
    abnormal = sum(case.label != 0 for case in cases)
    if abnormal:
        raise DataError(
            f"{abnormal} of {len(cases)} images are labelled abnormal; a calibration is made on normal images alone."
        )
    for name, column in {"score": scores, **intensities}.items():
        if np.shape(column) != (len(cases),):
            raise DataError(f"{np.size(column)} values of '{name}' for {len(cases)} images; give one to each image.")
        bad = int(np.count_nonzero(~np.isfinite(column)))
        if bad:
            raise DataError(f"{bad} of {len(cases)} values of '{name}' are NaN or infinite; leave those images out.")
    return np.asarray(scores, dtype=np.float64)


def _threshold(scores: NDArray[np.float64], all_patients: int, rate: float) -> float:
    try:
        return threshold(scores, rate).value
    except DataError as error:
        held = all_patients - len(scores)
        aside = f" {held} more are held out for the check; check_fraction 0 holds nobody out." if held else ""
        raise ConfigError(f"{error}{aside}") from error


def _check(
    cases: Sequence[Case], scores: NDArray[np.float64], held: NDArray[np.int64], limit: float
) -> dict[str, Any] | None:
    """Flagged share of the held-out patients' images, all of them, with its interval; None where nobody is held out."""
    if not len(held):
        return None
    patients = np.array([cases[index].patient_id for index in held.tolist()])
    nobody = np.zeros(len(held), dtype=bool)
    rates = CohortRates(
        labels=np.zeros(len(held), dtype=np.int64),
        patients=patients,
        flagged=scores[held] > limit,
        served=nobody,
        prevalence=0.5,  # of no consequence for the false-positive rate
        min_patients=MIN_PATIENTS,
    )
    figure = rates.cohort(~nobody)["false_positive_rate"]
    return {"images": len(held), "patients": len(np.unique(patients)), "false_positive_rate": figure}


def _cohort_counts(cases: Sequence[Case]) -> dict[str, dict[str, int | None]]:
    public = all(case.source in PUBLIC_SOURCES for case in cases)
    counts: dict[str, dict[str, int | None]] = {}
    for key in cohort_keys(cases, (("sex",), ("view",), ("age",))):
        members = [case for case, inside in zip(cases, select(cases, key), strict=True) if inside]
        patients = len({case.patient_id for case in members})
        # Few patients of one kind could be recognised by whoever gets the file.
        told = public or key == ALL or patients >= MIN_PATIENTS
        counts[key] = {"images": len(members) if told else None, "patients": patients if told else None}
    return counts


def _sample(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sorted values, thinned to even ranks where there are many."""
    ordered = np.sort(np.asarray(column, dtype=np.float64))
    if len(ordered) <= _SAMPLE:
        return ordered
    return ordered[((np.arange(_SAMPLE) + 0.5) * len(ordered) / _SAMPLE).astype(int)]
