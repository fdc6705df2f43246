"""Strata to which gaps between cohorts are standardised: view x finding x third of the truth's area."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitad_med.data.case import UNKNOWN, Case
from vitad_med.reporting.analysis.effects import area_thirds

COMPONENTS = ("view", "finding", "box size")


def localized_strata(cases: Sequence[Case], masks: np.ndarray, axis: str) -> np.ndarray:
    """Stratum of each localized image, text [L].

    Args:
        cases: the L localized cases.
        masks: bool [L, S, S].
        axis: the compared attribute; it is not part of its own strata.
    """
    third, _ = area_thirds(masks)
    parts = {
        "view": [case.view for case in cases],
        "finding": [main_finding(case) for case in cases],
        "box size": [str(number) for number in third],
    }
    kept = [parts[name] for name in COMPONENTS if name != axis]
    return np.array(["|".join(values) for values in zip(*kept, strict=True)], dtype=str)


def image_strata(cases: Sequence[Case], localized: np.ndarray, of_localized: np.ndarray, axis: str) -> np.ndarray:
    """Stratum of each image, text [N]: the label, and what is known of an image that is not localized.

    Args:
        cases: N cases.
        localized: int [L], numbers of the localized ones.
        of_localized: their strata, text [L].
        axis: the compared attribute.
    """
    strata = [f"{case.label}|{'' if axis == 'view' else case.view}|{main_finding(case)}" for case in cases]
    for number, stratum in zip(localized, of_localized, strict=True):
        strata[number] = f"1|{stratum}"
    return np.array(strata, dtype=str)


def main_finding(case: Case) -> str:
    """Finding of the largest box, else the first of the image's findings; empty for a normal image."""
    if case.boxes:
        return max(case.boxes, key=lambda box: box.width * box.height).finding or UNKNOWN
    return (case.findings or (UNKNOWN if case.label else "",))[0]
