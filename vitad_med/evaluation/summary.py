"""From scores and maps to the document ``metrics.json``: every cohort, every metric, every null map."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitad_med.data.case import Case
from vitad_med.evaluation import null_maps
from vitad_med.evaluation.cells import MIN_PATIENTS, Truth, make_truths
from vitad_med.evaluation.cohorts import cohort_keys, select
from vitad_med.evaluation.document import (
    SCHEMA,
    Cohort,
    Document,
    Value,
    check_document,
    rounded,
    unscored,
    write_metrics,
)
from vitad_med.evaluation.image_level import ImageFigures
from vitad_med.evaluation.inputs import check_inputs
from vitad_med.evaluation.null_figures import NullFigure, null_figures
from vitad_med.evaluation.paired import Paired, map_figure, paired_differences
from vitad_med.evaluation.truth import truth_masks
from vitad_med.metrics.bootstrap import patient_weights
from vitad_med.metrics.conditioned import within_image_midranks

__all__ = ["summarize", "write_metrics"]

_logger = logging.getLogger(__name__)


def summarize(
    cases: Sequence[Case],
    scores: np.ndarray,
    maps: np.ndarray,
    *,
    bundle: str,
    model_digest: str,
    data_digest: str,
    eval_size: int = 224,
    by: Sequence[Sequence[str]] = (("sex",), ("view",)),
    images: np.ndarray | None = None,
    replicates: int = 2000,
    seed: int = 0,
    min_patients: int = MIN_PATIENTS,
    pipeline: Mapping[str, Any] | None = None,
    score_rule: str | None = None,
) -> Document:
    """Evaluate one method on one test set.

    Args:
        cases: N test cases, normal and abnormal.
        scores: float [N], finite; greater is more abnormal.
        maps: float [L, eval_size, eval_size], finite; the maps of the L localized cases in the order of ``cases``. May
            be memory-mapped. Greater is more abnormal.
        bundle: name of the method, for the document.
        model_digest: digest of the weights, for the document.
        data_digest: digest of the cases, for the document.
        eval_size: side of the evaluation grid in pixels.
        by: cohorts to report beside ``all``, each a tuple of axes to cross.
        images: float [L, eval_size, eval_size], the localized cases' images for the null maps; read from
            ``image_path`` when not given.
        replicates: bootstrap replicates; all metrics and cohorts share the same ones.
        seed: of the bootstrap.
        min_patients: a cell with fewer patients in a class gets a reason instead of a figure.
        pipeline: settings that change scores, plain values, for the document.
        score_rule: what the image score is, in words, for the document.

    Returns:
        The document, checked. The same input gives the same document.

    Raises:
        DataError: shapes that do not fit, NaN or infinite values, a case twice, truth outside the image.
        ConfigError: a cohort axis that does not exist.
    """
    scores = check_inputs(cases, scores, maps, eval_size)
    keys = cohort_keys(cases, by)
    members = {key: select(cases, key) for key in keys}
    localized = np.array([case.localized for case in cases])
    local_cases = [case for case in cases if case.localized]
    weights = patient_weights([c.patient_id for c in cases], [c.label for c in cases], replicates, seed)

    masks = truth_masks(local_cases, eval_size)
    truths = make_truths(local_cases, masks, {key: inside[localized] for key, inside in members.items()})
    values, own = _method_values(truths, maps, weights[:, localized], min_patients)
    # The null maps know nothing of the method: one evaluation after another on the same images shares their figures.
    shared = (data_digest, tuple(cases), eval_size, tuple(keys), replicates, seed, min_patients)
    figures = null_figures(
        truths, local_cases, masks, images, weights[:, localized], min_patients, None if images is not None else shared
    )
    nulls, differences = _null_values(truths, figures, own)
    image_figures = ImageFigures(cases, scores, weights, min_patients)

    cohorts: dict[str, Cohort] = {}
    for key, inside in members.items():
        chosen = [case for case, is_in in zip(cases, inside, strict=True) if is_in]
        cohorts[key] = {
            "n_images": len(chosen),
            "n_patients": len({case.patient_id for case in chosen}),
            "n_abnormal": sum(case.label for case in chosen),
            "n_localized": _cell_size(truths, key),
            "metrics": {**image_figures.cohort(inside), **values[key]},
            "nulls": nulls[key],
            "differences": differences[key],
        }
    document: Document = {
        "schema": SCHEMA,
        "bundle": bundle,
        "model_digest": model_digest,
        "data_digest": data_digest,
        "cohorts": cohorts,
    }
    if pipeline is not None:
        document["pipeline"] = dict(pipeline)
    if score_rule is not None:
        document["score_rule"] = score_rule
    return check_document(document)


def _cell_size(truths: Sequence[Truth], key: str) -> int:
    return next(truth.cells[key].n for truth in truths if key in truth.cells)


def _method_values(
    truths: Sequence[Truth], maps: np.ndarray, weights: np.ndarray, min_patients: int
) -> tuple[dict[str, dict[str, Value]], dict[str, Paired]]:
    """Metrics with intervals of the method's own maps, and what differences to them need, by cohort."""
    _logger.info("localization figures of the method on %d localized images", len(maps))
    values: dict[str, dict[str, Value]] = {}
    paired: dict[str, Paired] = {}
    ranks = within_image_midranks(maps)
    for truth in truths:
        figures = truth.figures(maps, ranks)
        for key, cell in truth.cells.items():
            reason = cell.reason(min_patients)
            if reason is not None:
                values[key] = {name: unscored(reason, cell.n) for name in truth.metrics}
                continue
            drawn = {}
            if cell.has_interval():
                drawn = figures.replicates(cell.index, weights[:, truth.positions], truth.metrics)
            points = figures.values(cell.index, truth.metrics)
            values[key] = {name: map_figure(value, cell, drawn.get(name)) for name, value in points.items()}
            paired[key] = Paired(points["conditioned_auroc"], drawn.get("conditioned_auroc"))
    return values, paired


def _null_values(
    truths: Sequence[Truth], figures: Sequence[NullFigure], own: dict[str, Paired]
) -> tuple[dict[str, dict[str, dict[str, float | None]]], dict[str, dict[str, Value]]]:
    """Figures of the null maps on the same images and the method's differences to them, by cohort."""
    nulls: dict[str, dict[str, dict[str, float | None]]] = {
        key: {name: dict.fromkeys(truth.metrics) for name in null_maps.MAPS} for truth in truths for key in truth.cells
    }
    differences: dict[str, dict[str, Value]] = {key: {} for key in nulls}
    cells = {key: cell for truth in truths for key, cell in truth.cells.items()}
    for figure in figures:
        values = figure.values.items()
        nulls[figure.key][figure.name].update({k: None if np.isnan(v) else rounded(v) for k, v in values})
        if figure.paired is not None:
            found = paired_differences(figure.name, own[figure.key], figure.paired, cells[figure.key])
            differences[figure.key].update(found)
    return nulls, differences
