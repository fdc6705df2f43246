"""Gaps between the cohorts of an axis in the two primary metrics: crude, standardised, tested, corrected by Holm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vitad_med.data.case import UNKNOWN, Case
from vitad_med.evaluation.cohorts import parse_key
from vitad_med.evaluation.document import Value, rounded, scored, unscored
from vitad_med.evaluation.intervals import difference_interval, fewest_patients
from vitad_med.metrics.bootstrap import MINIMUM_PATIENTS, patient_kinds
from vitad_med.metrics.gap_statistics import ConditionedStatistic, ImageStatistic, Statistic
from vitad_med.metrics.gaps import GapTest, between_patients, bootstrap_gap_test, holm, permutation_test
from vitad_med.metrics.image import image_auroc
from vitad_med.metrics.standardisation import Standardisation
from vitad_med.reporting.analysis.settings import PRIMARY, ReportSettings
from vitad_med.reporting.analysis.strata import image_strata, localized_strata
from vitad_med.reporting.analysis.study import LocalizationStudy

MIN_SUPPORT = 0.5
"""Below this share of images in strata that every cohort has, a standardised gap would be about few of them."""

Auroc = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Sample:
    """The images on which one primary metric is computed.

    Attributes:
        auroc: from counts or real weights [B, n] and the images bool [n] that take part to the metric [B].
        statistic: makes the permutation test's statistic.
        counts: bootstrap counts uint16 [R, n].
        patients: text [n].
        labels: 0 or 1, [n]; all 1 where the metric is about localized images only.
        strata: from an axis to text [n].
        members: bool [n] for each cohort key.
    """

    auroc: Auroc
    statistic: Callable[[], Statistic]
    counts: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    strata: Callable[[str], np.ndarray]
    members: Mapping[str, np.ndarray]


def gaps(
    cases: Sequence[Case],
    scores: np.ndarray,
    weights: np.ndarray,
    members: Mapping[str, np.ndarray],
    cohorts: Mapping[str, Any],
    study: LocalizationStudy,
    settings: ReportSettings,
) -> list[dict[str, Any]]:
    """Test every axis on every primary metric; Holm's family is all of these tests.

    A gap is the figure of one cohort minus that of all others of its axis taken together (for findings, minus the mean
    of the others). Cohorts that are unknown or
    too small to be scored take no part.

    Args:
        cases: N cases.
        scores: [N].
        weights: bootstrap counts [R, N].
        members: bool [N] for each cohort key.
        cohorts: the report's cohorts with their figures.
        study: localization of the method.
        settings: of the report.
    """
    samples = {
        "conditioned_auroc": _localized_sample(cases, weights, members, study),
        "image_auroc": _image_sample(cases, scores, weights, members, study),
    }
    tests = [(axis, metric) for axis in settings.axes for metric in PRIMARY]

    def test(of: tuple[str, str]) -> dict[str, Any]:
        return _gap(*of, samples[of[1]], cohorts, study, settings)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        blocks = list(pool.map(test, tests))
    for block, p in zip(blocks, holm([block["p"] for block in blocks]), strict=True):
        block["p_holm"] = None if p is None else rounded(p)
    return blocks


def _localized_sample(
    cases: Sequence[Case], weights: np.ndarray, members: Mapping[str, np.ndarray], study: LocalizationStudy
) -> Sample | None:
    matrices = study.matrices
    if matrices is None:
        return None
    everyone = patient_kinds([case.patient_id for case in cases], [case.label for case in cases])
    patients = np.array([case.patient_id for case in study.cases], dtype=str)
    return Sample(
        auroc=lambda w, index: np.asarray(matrices.auroc(w, index)),
        statistic=lambda: ConditionedStatistic(matrices, patients, everyone[study.indices]),
        counts=weights[:, study.indices],
        patients=patients,
        labels=np.ones(len(patients), dtype=int),
        strata=lambda axis: localized_strata(study.cases, study.masks, axis),
        members={key: inside[study.indices] for key, inside in members.items()},
    )


def _image_sample(
    cases: Sequence[Case],
    scores: np.ndarray,
    weights: np.ndarray,
    members: Mapping[str, np.ndarray],
    study: LocalizationStudy,
) -> Sample:
    patients = np.array([case.patient_id for case in cases], dtype=str)
    labels = np.array([case.label for case in cases])
    return Sample(
        auroc=lambda w, index: np.asarray(image_auroc(scores[index], labels[index], w[:, index])),
        statistic=lambda: ImageStatistic(scores, labels, patients),
        counts=weights,
        patients=patients,
        labels=labels,
        strata=lambda axis: image_strata(cases, study.indices, localized_strata(study.cases, study.masks, axis), axis),
        members=members,
    )


def _gap(
    axis: str,
    metric: str,
    sample: Sample | None,
    cohorts: Mapping[str, Any],
    study: LocalizationStudy,
    settings: ReportSettings,
) -> dict[str, Any]:
    block: dict[str, Any] = {
        "axis": axis,
        "metric": metric,
        "test": "permutation",
        "p": None,
        "p_holm": None,
        "reason": None,
        "levels": [],
    }
    group = "image" if metric.startswith("image") else "localization"
    keys = [
        key
        for key, cohort in cohorts.items()
        if list(parse_key(key)) == [axis]
        and parse_key(key)[axis] != UNKNOWN
        and cohort[group][metric]["low"] is not None
    ]
    if sample is None or len(keys) < 2:
        block["reason"] = f"fewer than two cohorts of this axis have {MINIMUM_PATIENTS} patients in each class"
        return block
    if axis == "finding":
        return _finding_gap(block, keys, group, sample, cohorts, study, settings)
    levels = np.full(len(sample.patients), -1)
    for number, key in enumerate(keys):
        levels[sample.members[key]] = number
    standard = Standardisation(sample.strata(axis), levels)
    drawn: list[np.ndarray] = []
    points: list[float] = []
    # With two cohorts the second gap is the first with its sign turned.
    for number, key in enumerate(keys if len(keys) > 2 else keys[:1]):
        inside, rest = levels == number, (levels >= 0) & (levels != number)
        point = float(_differences(sample.auroc, np.ones((1, len(levels))), inside, rest)[0])
        blocks = [_differences(sample.auroc, block, inside, rest) for block in _blocks(sample.counts)]
        replicates = np.concatenate(blocks)
        points.append(point)
        drawn.append(replicates)
        patients = min(_patients(sample, inside), _patients(sample, rest))
        n = int(inside.sum())
        block["levels"].append(
            {
                "cohort": key,
                "name": cohorts[key]["name"],
                "value": cohorts[key][group][metric],
                "crude": _figure(point, replicates, patients, n, settings.level),
                "standardised": _standardised(standard, sample, inside, rest, patients, settings.level),
                "support": rounded(standard.support),
            }
        )
    smallest = min(_patients(sample, levels == number) for number in range(len(keys)))
    return _tested(block, sample, levels, points, drawn, smallest, settings)


def _tested(
    block: dict[str, Any],
    sample: Sample,
    levels: np.ndarray | None,
    points: Sequence[float],
    drawn: Sequence[np.ndarray],
    smallest: int,
    settings: ReportSettings,
) -> dict[str, Any]:
    """Fill in the test of a block: by permutation where every patient has one level, else by the bootstrap."""
    if smallest < MINIMUM_PATIENTS:
        block["reason"] = f"not tested: a cohort of {smallest} patients, fewer than {MINIMUM_PATIENTS}"
        return block
    test: GapTest
    if levels is not None and between_patients(levels[levels >= 0], sample.patients[levels >= 0]):
        test = permutation_test(sample.statistic(), levels, settings.permutations, settings.seed)
    else:
        block["test"] = "bootstrap"
        test = bootstrap_gap_test(points, np.stack(drawn, axis=1), np.arange(len(points)), smallest)
    if np.isnan(test.p):
        block["reason"] = "not tested: a gap does not exist in too many replicates"
    else:
        block["p"] = rounded(test.p)
    return block


def _finding_gap(
    block: dict[str, Any],
    keys: Sequence[str],
    group: str,
    sample: Sample,
    cohorts: Mapping[str, Any],
    study: LocalizationStudy,
    settings: ReportSettings,
) -> dict[str, Any]:
    """Gaps between findings: an image can show several, and each finding has a truth of its own.

    So a gap is a finding's figure minus the mean of the other findings' figures, all of the same replicates.
    """
    figures, counts, drawn = [], [], []
    for key in keys:
        inside = sample.members[key]
        figures.append(float(cohorts[key][group][block["metric"]]["value"]))
        if group == "localization":
            counts.append(study.cells[key].n_patients)
            drawn.append(study.replicates.get(key, np.full(settings.replicates, np.nan)))
        else:
            counts.append(_patients(sample, inside))
            drawn.append(np.concatenate([sample.auroc(part, inside) for part in _blocks(sample.counts)]))
    replicates = np.stack(drawn, axis=1)
    others = len(keys) - 1
    points = [value - (sum(figures) - value) / others for value in figures]
    differences = replicates - (replicates.sum(axis=1, keepdims=True) - replicates) / others
    none = unscored("an image can show several findings: their mixes cannot be weighted apart", 0)
    for number, key in enumerate(keys):
        n = cohorts[key][group][block["metric"]]["n"]
        block["levels"].append(
            {
                "cohort": key,
                "name": cohorts[key]["name"],
                "value": cohorts[key][group][block["metric"]],
                "crude": _figure(points[number], differences[:, number], min(counts), n, settings.level),
                "standardised": none,
                "support": None,
            }
        )
    return _tested(block, sample, None, points, list(differences.T), min(counts), settings)


def _patients(sample: Sample, inside: np.ndarray) -> int:
    """Patients of the smaller class that the metric needs."""
    return fewest_patients(sample.patients[inside], sample.labels[inside], np.unique(sample.labels).tolist())


def _differences(auroc: Auroc, weights: np.ndarray, inside: np.ndarray, rest: np.ndarray) -> np.ndarray:
    return auroc(weights, inside) - auroc(weights, rest)


def _standardised(
    standard: Standardisation, sample: Sample, inside: np.ndarray, rest: np.ndarray, patients: int, level: float
) -> Value:
    n = int((inside & standard.common).sum())
    if standard.support < MIN_SUPPORT:
        share = f"{standard.support:.0%}".replace("%", " %")
        return unscored(f"only {share} of the images lie in strata that every cohort has", n)
    inside, rest = inside & standard.common, rest & standard.common

    def differences(counts: np.ndarray) -> np.ndarray:
        own, other = standard.weights(inside, counts), standard.weights(rest, counts)
        return sample.auroc(own, inside) - sample.auroc(other, rest)

    point = float(differences(np.ones((1, len(inside))))[0])
    replicates = np.concatenate([differences(block) for block in _blocks(sample.counts)])
    return _figure(point, replicates, patients, n, level)


def _figure(point: float, replicates: np.ndarray, patients: int, n: int, level: float) -> Value:
    if np.isnan(point):
        return unscored("no pair of a positive and a negative to be compared", n)
    if patients < MINIMUM_PATIENTS:
        return scored(point, n)
    return scored(point, n, difference_interval(replicates, patients, level))


def _blocks(counts: np.ndarray, size: int = 100) -> list[np.ndarray]:
    return [counts[start : start + size] for start in range(0, len(counts), size)]
