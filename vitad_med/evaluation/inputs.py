"""Checks of what an evaluation receives, before any figure is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vitad_med.data.case import Case
from vitad_med.errors import DataError


def check_inputs(cases: Sequence[Case], scores: np.ndarray, maps: np.ndarray, eval_size: int) -> np.ndarray:
    """Check that scores and maps belong to the cases and are finite.

    Args:
        cases: N cases.
        scores: [N].
        maps: [L, eval_size, eval_size] for the L localized cases.
        eval_size: side of the evaluation grid.

    Returns:
        The scores as float64 [N].

    Raises:
        DataError: naming the first case or shape at fault.
    """
    if not cases:
        raise DataError("There is no case to evaluate; choose a section of the data set that has test images.")
    name, times = Counter(case.case_id for case in cases).most_common(1)[0]
    if times > 1:
        raise DataError(f"Case {name} occurs {times} times in the evaluated cases; give every image once.")
    normal_with_truth = [case.case_id for case in cases if case.localized and case.label == 0]
    if normal_with_truth:
        raise DataError(f"Case {normal_with_truth[0]} is labelled normal but has a box or mask; correct its label.")
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(cases),):
        raise DataError(f"scores have shape {list(values.shape)} for {len(cases)} cases; give one score to each case.")
    bad = [case.case_id for case, value in zip(cases, values, strict=True) if not np.isfinite(value)]
    if bad:
        raise DataError(
            f"{len(bad)} of {len(cases)} scores are NaN or infinite, the first is that of case {bad[0]}; "
            "find what the model returned for it."
        )
    localized = [case for case in cases if case.localized]
    wanted = (len(localized), eval_size, eval_size)
    if tuple(np.shape(maps)) != wanted:
        raise DataError(
            f"maps have shape {list(np.shape(maps))}, but {len(localized)} localized cases at eval_size {eval_size} "
            f"need {list(wanted)}; resize each map to the whole grid and keep the order of the cases."
        )
    for case, image_map in zip(localized, maps, strict=True):
        if not np.isfinite(image_map).all():
            raise DataError(
                f"The map of case {case.case_id} holds NaN or infinite values; find what the model returned."
            )
    return values
