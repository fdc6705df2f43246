"""Figures of maps with their intervals, and paired differences between a method and the null maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitad_med.evaluation.cells import Cell
from vitad_med.evaluation.document import Value, scored, unscored
from vitad_med.evaluation.intervals import LEVEL, difference_interval, figure_interval
from vitad_med.evaluation.verdict import INVERTED

NO_PAIR = "no pixel inside the truth has a counterpart outside it to be compared with"


@dataclass(frozen=True)
class Paired:
    """A figure and its bootstrap replicates [R], or None where there are too few patients for an interval."""

    value: float
    replicates: np.ndarray | None


def map_figure(value: float, cell: Cell, replicates: np.ndarray | None, level: float = LEVEL) -> Value:
    """A cell's figure in 0..1 with its interval; NaN becomes the reason why there is none."""
    if np.isnan(value):
        return unscored(NO_PAIR, cell.n)
    ends = None if replicates is None else figure_interval(value, replicates, cell.n_patients, level)
    return scored(value, cell.n, ends)


def paired_differences(name: str, own: Paired, null: Paired, cell: Cell, level: float = LEVEL) -> dict[str, Value]:
    """Method minus null map, and minus the null map turned upside down, whose AUROC is 1 - x.

    Both sides share their replicates, so what the images have in common cancels.

    Returns:
        Figures in -1..1 by ``name`` and ``name + " inverted"``.
    """
    sides = (
        (name, null.value, null.replicates),
        (name + INVERTED, 1 - null.value, None if null.replicates is None else 1 - null.replicates),
    )
    figures: dict[str, Value] = {}
    for key, value, drawn in sides:
        if np.isnan(own.value - value):
            figures[key] = unscored(NO_PAIR, cell.n)
            continue
        ends = None
        if own.replicates is not None and drawn is not None:
            ends = difference_interval(own.replicates - drawn, cell.n_patients, level)
        figures[key] = scored(own.value - value, cell.n, ends)
    return figures
