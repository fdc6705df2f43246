"""Who is in the report: the flow of images and patients, and small counts that must not be told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vitad_med.data.case import Case
from vitad_med.evaluation.cohorts import parse_key
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


def suppress_small_counts(
    report: dict[str, Any], minimum: int, cases: Sequence[Case], members: Mapping[str, np.ndarray]
) -> None:
    """Withhold counts of fewer than ``minimum`` patients (None), in place: for data that are not public.

    A small cell says who it is about to anyone who knows one of the few. Figures of such cells are not given in the
    first place, and their reasons say "fewer than" in place of the number. Where one cohort alone of an axis would be
    withheld, its size would follow from the others, so that the smallest other one is withheld too.

    Args:
        report: the document.
        minimum: smallest number of patients that is told.
        cases: N cases.
        members: bool [N] for each cohort key.
    """
    patients = np.array([case.patient_id for case in cases], dtype=str)
    kinds = {
        "n_normal": np.array([not case.label for case in cases]),
        "n_abnormal": np.array([bool(case.label) for case in cases]),
        "n_localized": np.array([case.localized for case in cases]),
    }
    sizes = {key: len(np.unique(patients[inside])) for key, inside in members.items()}
    withheld = {key for key, size in sizes.items() if size < minimum}
    by_axes: dict[tuple[str, ...], list[str]] = {}
    for key in sizes:
        by_axes.setdefault(tuple(parse_key(key)), []).append(key)
    for keys in by_axes.values():
        told = [key for key in keys if key not in withheld]
        if len(keys) - len(told) == 1 and told:
            withheld.add(min(told, key=lambda key: sizes[key]))
    point = report["operating_point"]
    for key, cohort in report["cohorts"].items():
        for kind in kinds.values():
            if 0 < len(np.unique(patients[members[key] & kind])) < minimum:
                # Either class would give the other away.
                cohort |= dict.fromkeys(kinds)
        if key in withheld:
            cohort |= dict.fromkeys(("n_images", "n_patients", *kinds))
            _withhold_n(cohort)
            _withhold_n(point["cohorts"].get(key))
    for block in [*report["flow"].values(), *report["flow"]["excluded"], point["calibration"], point["check"]]:
        if isinstance(block, dict) and isinstance(block.get("patients"), int) and 0 < block["patients"] < minimum:
            block["images"] = block["patients"] = None
    _blur_reasons(report, minimum)


def _withhold_n(part: Any) -> None:
    """Set the number of images of every figure inside to None."""
    if isinstance(part, dict):
        if "n" in part:
            part["n"] = None
        for value in part.values():
            _withhold_n(value)


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
