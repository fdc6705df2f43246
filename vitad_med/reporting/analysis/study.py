"""Localization of the method beside the null maps: one pass over the sources of maps, one stack in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vitad_med.data.case import Case
from vitad_med.evaluation.cells import Cell, make_truths
from vitad_med.evaluation.document import Value
from vitad_med.evaluation.paired import paired_differences
from vitad_med.evaluation.truth import truth_masks
from vitad_med.metrics.conditioned import PairMatrices
from vitad_med.predictions.records import Predictions
from vitad_med.reporting.analysis.effects import effects
from vitad_med.reporting.analysis.localized import Group, source_figures
from vitad_med.reporting.analysis.regions import TruthRegions
from vitad_med.reporting.analysis.settings import ReportSettings
from vitad_med.reporting.analysis.sources import method_source, null_sources

_AT_ONCE = 2
_logger = logging.getLogger(__name__)


@dataclass
class LocalizationStudy:
    """Results of the localized images, by cohort.

    Attributes:
        indices: int [L], numbers of the localized cases.
        cases: the L localized cases.
        masks: bool [L, S, S], their whole truth.
        cells: the localized images of each cohort.
        values: the method's figures by cohort and metric.
        nulls: figures of the null maps by cohort, map and metric.
        differences: method minus null map in ``conditioned_auroc`` by cohort and map.
        curves: FROC curves of the method by cohort.
        null_curves: FROC curves of the null maps over all images.
        replicates: of the method's ``conditioned_auroc`` by cohort, where there are enough patients.
        matrices: pair matrices of the method's ranks over all localized images; None without localized images.
        image_auroc: pixel AUROC within each localized image, [L].
        hits: pointing game of each localized image, [L].
        with_images: every localized image was given, so that null maps made of images were scored.
        effects: see :func:`vitad_med.reporting.analysis.effects.effects`.
    """

    indices: np.ndarray
    cases: list[Case]
    masks: np.ndarray
    cells: dict[str, Cell]
    values: dict[str, dict[str, Value]] = field(default_factory=dict)
    nulls: dict[str, dict[str, dict[str, Value]]] = field(default_factory=dict)
    differences: dict[str, dict[str, Value]] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)
    null_curves: dict[str, Any] = field(default_factory=dict)
    replicates: dict[str, np.ndarray] = field(default_factory=dict)
    matrices: PairMatrices | None = None
    image_auroc: np.ndarray | None = None
    hits: np.ndarray | None = None
    with_images: bool = True
    effects: dict[str, Any] = field(default_factory=lambda: {"box_area": [], "position": []})


def study_localization(
    predictions: Predictions, members: Mapping[str, np.ndarray], weights: np.ndarray, settings: ReportSettings
) -> LocalizationStudy:
    """Score the method's maps and the null maps on the same images.

    Args:
        predictions: N cases with their maps and images.
        members: bool [N] for each cohort key.
        weights: bootstrap counts, uint16 [R, N].
        settings: of the report.
    """
    cases = predictions.cases
    indices = np.array([i for i, c in enumerate(cases) if c.localized and predictions.has_map(i)], dtype=np.int64)
    local = [cases[i] for i in indices]
    masks = truth_masks(local, predictions.eval_size)
    truths = make_truths(local, masks, {key: inside[indices] for key, inside in members.items()})
    study = LocalizationStudy(indices, local, masks, {key: truth.cells[key] for truth in truths for key in truth.cells})
    normal = np.array([i for i, c in enumerate(cases) if not c.label and predictions.has_map(i)], dtype=np.int64)

    regions = TruthRegions.of(local, masks)

    def group(numbers: np.ndarray) -> Group:
        inside = {key: member[numbers] for key, member in members.items()}
        return Group(
            local,
            regions,
            truths,
            weights[:, indices],
            np.array([cases[i].patient_id for i in numbers], dtype=str),
            weights[:, numbers],
            inside,
            settings.min_patients,
            settings.level,
        )

    of_method = group(normal)
    method = source_figures(method_source(predictions, indices, normal, settings.pixel_score), of_method)
    study.values, study.curves = method.values, method.curves
    study.matrices, study.image_auroc, study.hits = method.matrices, method.image_auroc, method.hits
    study.replicates = {key: p.replicates for key, p in method.paired.items() if p.replicates is not None}
    study.nulls = {key: {} for key in study.cells}
    study.differences = {key: {} for key in study.cells}
    if not method.paired:
        return study
    assert method.matrices is not None
    assert method.hits is not None
    study.effects = effects(
        local,
        masks,
        method.matrices,
        method.hits,
        weights[:, indices],
        settings.min_patients,
        settings.level,
    )
    study.with_images = all(predictions.has_image(int(i)) for i in indices)
    images = np.stack([predictions.image(int(i)) for i in indices]) if study.with_images else None
    seen = normal[[predictions.has_image(int(i)) for i in normal]] if len(normal) else normal
    sources = null_sources(predictions, indices, seen, masks, images)
    of_nulls = of_method if len(seen) == len(normal) else group(seen)
    # Two at a time: the work is in arrays, which threads share a machine for; each holds its stacks in memory.
    with ThreadPoolExecutor(min(_AT_ONCE, torch.get_num_threads())) as pool:
        scored = list(pool.map(lambda source: source_figures(source, of_nulls), sources))
    for source, figures in zip(sources, scored, strict=True):
        if "all" in figures.curves:
            study.null_curves[source.name] = figures.curves["all"]
        for key, cell in study.cells.items():
            study.nulls[key][source.name] = figures.values[key]
            if key in figures.paired:
                own, null = method.paired[key], figures.paired[key]
                study.differences[key] |= paired_differences(source.name, own, null, cell, settings.level)
    return study
