"""Who is in the report: the flow of images and patients, and small counts that must not be told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vitad_med.data.case import Case
from vitad_med.predictions.records import Exclusion

Count = dict[str, int | None]


def count(patients: Iterable[str]) -> Count:
    """Images and patients, from the patient of each image."""
    listed = list(patients)
    return {"images": len(listed), "patients": len(set(listed))}


def flow(cases: Sequence[Case], exclusions: Sequence[Exclusion]) -> dict[str, Any]:
    """The flow diagram's numbers, from the rows that were read to the images that have a localized truth."""
    reasons = dict.fromkeys(exclusion.reason for exclusion in exclusions)
    return {
        "read": count([*(case.patient_id for case in cases), *(exclusion.patient for exclusion in exclusions)]),
        "excluded": [
            {"reason": reason, **count(e.patient for e in exclusions if e.reason == reason)} for reason in reasons
        ],
        "evaluated": count(case.patient_id for case in cases),
        "normal": count(case.patient_id for case in cases if not case.label),
        "abnormal": count(case.patient_id for case in cases if case.label),
        "localized": count(case.patient_id for case in cases if case.localized),
        "not_localized": count(case.patient_id for case in cases if case.label and not case.localized),
        "calibration": None,
        "check": None,
    }


def cohort_counts(cases: Sequence[Case], members: np.ndarray, localized: int) -> dict[str, int | None]:
    """Counts of one cohort; ``localized`` differs from the cases' own in a cohort of one finding."""
    inside = [case for case, is_in in zip(cases, members, strict=True) if is_in]
    abnormal = sum(case.label for case in inside)
    return {
        "n_images": len(inside),
        "n_patients": len({case.patient_id for case in inside}),
        "n_normal": len(inside) - abnormal,
        "n_abnormal": abnormal,
        "n_localized": localized,
    }


def suppress_small_counts(report: dict[str, Any], minimum: int) -> None:
    """Replace counts of fewer than ``minimum`` patients by None, in place: for data that are not public.

    A small cell says who it is about to anyone who knows one of the few. Figures of such cells are not given in the
    first place, and their reasons say "fewer than" in place of the number.
    """
    for cohort in report["cohorts"].values():
        if cohort["n_patients"] < minimum:
            for name in ("n_images", "n_patients", "n_normal", "n_abnormal", "n_localized"):
                cohort[name] = None
        for name in ("n_normal", "n_abnormal", "n_localized"):
            if cohort[name] is not None and 0 < cohort[name] < minimum:
                cohort[name] = None
    point = report["operating_point"]
    for block in [*report["flow"].values(), *report["flow"]["excluded"], point["calibration"], point["check"]]:
        if isinstance(block, dict) and isinstance(block.get("patients"), int) and 0 < block["patients"] < minimum:
            block["images"] = block["patients"] = None
    _blur_reasons(report, minimum)


_FEW = re.compile(r"\b(\d+) patients?\b")


def _blur_reasons(part: Any, minimum: int) -> None:
    """Reasons and verdicts name small numbers of patients; say only that they are small, and withhold ``n``."""
    if isinstance(part, list):
        for item in part:
            _blur_reasons(item, minimum)
    if not isinstance(part, dict):
        return
    for name in ("reason", "sentence"):
        said = part.get(name)
        if not isinstance(said, str):
            continue
        few = [number for number in _FEW.findall(said) if 0 < int(number) < minimum]
        for number in few:
            said = re.sub(rf"\b{number} patients?\b", f"fewer than {minimum} patients", said)
        if few:
            # "... with normal images, fewer than 5" would say it twice.
            part[name] = re.sub(rf"^(.*fewer than {minimum} patients .*), fewer than {minimum}$", r"\1", said)
        if few and "n" in part:
            part["n"] = None
    for value in part.values():
        _blur_reasons(value, minimum)
