"""Figures of one run with their bootstrap replicates, and the paired differences of two runs on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from vitad_med.comparison.document import ComparedFigure, DelongDifference
from vitad_med.data.case import Case
from vitad_med.evaluation.cohorts import parse_key
from vitad_med.evaluation.document import scored, unscored
from vitad_med.evaluation.localization import MapFigures
from vitad_med.evaluation.truth import finding_truth
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


@dataclass(frozen=True)
class TruthGroup:
    """Cohorts that share one definition of the truth: every box, or the boxes of one finding.

    Attributes:
        positions: the images used, among the localized ones, int [n].
        masks: bool [n, S, S].
        ignore: bool [n, S, S] of pixels that are neither, or None.
        cohorts: images of each cohort, bool [n] by key.
    """

    positions: NDArray[np.int64]
    masks: NDArray[np.bool_]
    ignore: NDArray[np.bool_] | None
    cohorts: dict[str, NDArray[np.bool_]]


def truth_groups(
    cases: Sequence[Case], masks: NDArray[np.bool_], members: dict[str, NDArray[np.bool_]]
) -> list[TruthGroup]:
    """Group cohorts by finding.

    Args:
        cases: L localized cases.
        masks: their whole truth, bool [L, S, S].
        members: images of each cohort, bool [L] by key.
    """
    findings = {key: parse_key(key).get("finding") for key in members}
    groups = []
    for finding in dict.fromkeys(findings.values()):
        positions, own, ignore = np.arange(len(cases)), masks, None
        if finding is not None:
            positions, own, ignore = finding_truth(cases, masks, finding)
        inside = {key: members[key][positions] for key in members if findings[key] == finding}
        groups.append(TruthGroup(positions, own, ignore, inside))
    return groups


def localization_figures(
    maps: NDArray[np.float32],
    group: TruthGroup,
    weights: NDArray[np.uint16],
    keys: Sequence[str],
    with_interval: Sequence[str],
) -> dict[str, dict[str, Drawn]]:
    """Localization figures of one run in the cohorts of one group.

    Args:
        maps: float32 [L, S, S] of the localized images.
        group: cohorts and their truth.
        weights: bootstrap counts of the localized images, [R, L].
        keys: of the cohorts to compute.
        with_interval: those of them that have the patients for an interval.
    """
    own = maps if len(group.positions) == len(maps) else maps[group.positions]
    figures = MapFigures(own, group.masks, group.ignore)
    drawn: dict[str, dict[str, Drawn]] = {}
    for key, index in group.cohorts.items():
        if key in keys:
            values = figures.values(index, LOCALIZATION)
            replicates = figures.replicates(index, weights[:, group.positions]) if key in with_interval else {}
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
