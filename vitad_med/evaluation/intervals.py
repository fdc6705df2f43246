"""Intervals of figures and of differences, or None where the replicates do not carry one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitad_med.metrics.bootstrap import interval, logit_interval

LEVEL = 0.95


def figure_interval(
    value: float, replicates: np.ndarray, patients: int, level: float = LEVEL
) -> tuple[float, float] | None:
    """Interval of a figure in 0..1 on the logit scale; see :func:`vitad_med.metrics.bootstrap.logit_interval`.

    Args:
        value: the figure itself.
        replicates: bootstrap replicates [R].
        patients: patients of the smaller class that the figure needs.
        level: coverage aimed at.
    """
    return _known(logit_interval(value, replicates, patients, level))


def difference_interval(replicates: np.ndarray, patients: int, level: float = LEVEL) -> tuple[float, float] | None:
    """Expanded percentile interval of a difference; see :func:`vitad_med.metrics.bootstrap.interval`."""
    return _known(interval(replicates, level, patients))


def fewest_patients(patients: np.ndarray, labels: np.ndarray, classes: Sequence[int] = (0, 1)) -> int:
    """Number of patients of the smaller of the classes."""
    return min(len(np.unique(patients[labels == wanted])) for wanted in classes)


def _known(ends: tuple[float, float]) -> tuple[float, float] | None:
    return None if np.isnan(ends[0]) else ends
