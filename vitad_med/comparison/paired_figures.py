"""Figures of one run with their bootstrap replicates, and the paired differences of two runs on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from vitad_med.comparison.document import ComparedFigure, DelongDifference
from vitad_med.evaluation.cells import Truth
from vitad_med.evaluation.document import scored, unscored
from vitad_med.metrics.bootstrap import interval, logit_interval
from vitad_med.metrics.clustered import delong_clustered_covariance
from vitad_med.metrics.image import image_auroc, image_average_precision
from vitad_med.reporting.document.figure_rules import ReportFigure

IMAGE = ("image_auroc", "image_ap")
LOCALIZATION = ("pixel_auroc", "position_auroc", "conditioned_auroc", "pointing_game")
NO_FIGURE = "no pair of a positive and a negative to compare"
_SAME = 1e-12  # differences below are the same sums in another order
_BLOCK = 128  # replicates at a time: their weights are copied to float64


@dataclass(frozen=True)
class Drawn:
    """A figure and its replicates.

    Attributes:
        value: of the sample itself, NaN where no pair exists.
        replicates: float64 [R], or None where there are too few patients for an interval.
    """

    value: float
    replicates: NDArray[np.float64] | None


def localization_figures(
    maps: NDArray[np.float32],
    truth: Truth,
    weights: NDArray[np.uint16],
    keys: Sequence[str],
    with_interval: Sequence[str],
) -> dict[str, dict[str, Drawn]]:
    """Localization figures of one run in the cohorts that share a truth.

    Args:
        maps: float32 [L, S, S] of the localized images.
        truth: cohorts and their truth.
        weights: bootstrap counts of the localized images, [R, L].
        keys: of the cohorts to compute.
        with_interval: those of them that have the patients for an interval.
    """
    figures = truth.figures(maps)
    drawn: dict[str, dict[str, Drawn]] = {}
    for key, cell in truth.cells.items():
        if key in keys:
            values = figures.values(cell.index, LOCALIZATION)
            replicates = {}
            if key in with_interval:
                replicates = figures.replicates(cell.index, weights[:, truth.positions], LOCALIZATION)
            drawn[key] = {name: Drawn(values[name], replicates.get(name)) for name in LOCALIZATION}
    return drawn


def image_figures(
    scores: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.uint16] | None
) -> dict[str, Drawn]:
    """Image figures of one run in one cohort.

    Args:
        scores: [n].
        labels: 0 or 1, [n], both classes present.
        weights: bootstrap counts [R, n], or None without an interval.
    """
    found = {}
    for name, metric in zip(IMAGE, (image_auroc, image_average_precision), strict=True):
        replicates = None
        if weights is not None:
            blocks = [metric(scores, labels, weights[i : i + _BLOCK]) for i in range(0, len(weights), _BLOCK)]
            replicates = np.concatenate([np.asarray(block) for block in blocks])
        found[name] = Drawn(float(metric(scores, labels)), replicates)
    return found


def compared(a: Drawn, b: Drawn, n: int | None, patients: int, level: float, test: bool) -> ComparedFigure:
    """One metric of two runs and B minus A.

    Args:
        a: figure of the first run.
        b: of the second, with the same replicates of patients.
        n: number of images used, None where it is suppressed.
        patients: patients of the smaller class that the metric needs.
        level: of the intervals.
        test: whether to give a p-value: 2 min(#{d <= 0} + 1, #{d >= 0} + 1) / (R + 1) of the R replicates d, at most 1.
    """
    if np.isnan(a.value) or np.isnan(b.value):
        return absent(NO_FIGURE, n)
    ends, p = None, None
    if a.replicates is not None and b.replicates is not None:
        drawn = _differences(a.replicates, b.replicates)
        low, high = interval(drawn, level, patients)
        if not np.isnan(low):
            ends = (low, high)
            exists = drawn[np.isfinite(drawn)]
            fewest = min(np.count_nonzero(exists <= 0), np.count_nonzero(exists >= 0))
            p = min(1.0, 2 * (fewest + 1) / (len(exists) + 1)) if test else None
    difference = float(_differences(np.array([a.value]), np.array([b.value]))[0])
    return {
        "a": _figure(a, n, patients, level),
        "b": _figure(b, n, patients, level),
        "difference": {**scored(difference, 0, ends), "n": n},
        "p": p,
        "p_holm": None,
    }


def absent(reason: str, n: int | None) -> ComparedFigure:
    """No figure of either run, and why."""
    figure: ReportFigure = {**unscored(reason, 0), "n": n}
    return {"a": figure, "b": figure, "difference": figure, "p": None, "p_holm": None}


def delong_difference(
    scores: NDArray[np.float64], labels: NDArray[np.int64], patients: NDArray, level: float
) -> DelongDifference | None:
    """Difference of two image AUROCs, its interval and two-sided p-value by clustered DeLong.

    Obuchowski, Biometrics 53 (1997), with normal quantiles.

    Args:
        scores: [2, n], first A then B.
        labels: 0 or 1, [n].
        patients: patient of each image, [n].
        level: of the interval.

    Returns:
        The difference B minus A, or None where it has no standard error.
    """
    aurocs, covariance = delong_clustered_covariance(scores, labels, patients)
    difference = float(_differences(aurocs[:1], aurocs[1:])[0])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if not np.isfinite(variance):
        return None
    if variance < _SAME:
        return {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0} if difference == 0 else None
    error = float(np.sqrt(variance))
    half = float(norm.ppf((1 + level) / 2)) * error
    p = float(2 * norm.sf(abs(difference) / error))
    return {"value": difference, "low": max(difference - half, -1.0), "high": min(difference + half, 1.0), "p": p}


def _differences(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    drawn = b - a
    drawn[np.abs(drawn) < _SAME] = 0
    return drawn


def _figure(drawn: Drawn, n: int | None, patients: int, level: float) -> ReportFigure:
    ends = None
    if drawn.replicates is not None:
        low, high = logit_interval(drawn.value, drawn.replicates, patients, level)
        ends = None if np.isnan(low) else (low, high)
    return {**scored(drawn.value, 0, ends), "n": n}
