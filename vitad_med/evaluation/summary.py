"""From scores and maps to the document ``metrics.json``: every cohort, every metric, every null map."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitad_med.data.case import Case
from vitad_med.errors import DataError
from vitad_med.evaluation import null_maps
from vitad_med.evaluation.cohorts import cohort_keys, parse_key, select
from vitad_med.evaluation.document import (
    LOCALIZATION_METRICS,
    SCHEMA,
    Cohort,
    Document,
    Value,
    check_document,
    rounded,
    scored,
    unscored,
    write_metrics,
)
from vitad_med.evaluation.image_level import ImageFigures, finite_interval
from vitad_med.evaluation.inputs import check_inputs
from vitad_med.evaluation.localization import MapFigures
from vitad_med.evaluation.truth import finding_truth, grey_images, truth_masks
from vitad_med.metrics.bootstrap import no_interval_reason, patient_weights
from vitad_med.metrics.conditioned import within_image_midranks

__all__ = ["summarize", "write_metrics"]

MIN_PATIENTS = 5
"""A cell with fewer patients in a class is named, not scored."""

_logger = logging.getLogger(__name__)

POOLED_METRICS = ("pixel_auroc", "pixel_ap")


@dataclass(frozen=True)
class _Cell:
    """A cohort's localized images among those that share its truth."""

    index: np.ndarray
    patients: np.ndarray

    def reason(self, min_patients: int) -> str | None:
        """Why the cell is not scored, or None."""
        if not self.index.any():
            return "no localized images"
        phrase = self._few(min_patients)
        return None if phrase is None else f"not scored: {phrase.replace('abnormal', 'localized')}"

    def has_interval(self) -> bool:
        return no_interval_reason(*self._classes(), classes=(1,)) is None

    def _few(self, minimum: int) -> str | None:
        return no_interval_reason(*self._classes(), classes=(1,), minimum=minimum)

    def _classes(self) -> tuple[np.ndarray, np.ndarray]:
        return self.patients[self.index], np.ones(int(self.index.sum()), dtype=int)


@dataclass(frozen=True)
class _Truth:
    """One definition of the truth (every box, or the boxes of one finding) and the cohorts that use it."""

    positions: np.ndarray
    masks: np.ndarray
    ignore: np.ndarray | None
    cells: dict[str, _Cell]


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
    truths = _truths(local_cases, masks, {key: inside[localized] for key, inside in members.items()})
    values = _method_values(truths, maps, weights[:, localized], min_patients)
    nulls = _null_values(truths, local_cases, masks, images, min_patients)
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
        }
    return check_document(
        {
            "schema": SCHEMA,
            "bundle": bundle,
            "model_digest": model_digest,
            "data_digest": data_digest,
            "cohorts": cohorts,
        }
    )


def _truths(cases: Sequence[Case], masks: np.ndarray, members: dict[str, np.ndarray]) -> list[_Truth]:
    """Group the cohorts by finding: within a group they are subsets of the same images with the same truth."""
    patients = np.array([case.patient_id for case in cases], dtype=str)
    findings = {key: parse_key(key).get("finding") for key in members}
    truths = []
    for finding in dict.fromkeys(findings.values()):
        positions, own, ignore = np.arange(len(cases)), masks, None
        if finding is not None:
            positions, own, ignore = finding_truth(cases, masks, finding)
        cells = {
            key: _Cell(members[key][positions], patients[positions]) for key in members if findings[key] == finding
        }
        truths.append(_Truth(positions, own, ignore, cells))
    return truths


def _cell_size(truths: Sequence[_Truth], key: str) -> int:
    return next(int(truth.cells[key].index.sum()) for truth in truths if key in truth.cells)


def _method_values(
    truths: Sequence[_Truth], maps: np.ndarray, weights: np.ndarray, min_patients: int
) -> dict[str, dict[str, Value]]:
    """Metrics with intervals of the method's own maps, by cohort."""
    _logger.info("localization figures of the method on %d localized images", len(maps))
    values: dict[str, dict[str, Value]] = {}
    ranks = within_image_midranks(maps)
    for truth in truths:
        figures = _figures(truth, maps, ranks)
        for key, cell in truth.cells.items():
            n = int(cell.index.sum())
            reason = cell.reason(min_patients)
            if reason is not None:
                values[key] = {name: unscored(reason, n) for name in LOCALIZATION_METRICS}
                continue
            drawn = figures.replicates(cell.index, weights[:, truth.positions]) if cell.has_interval() else {}
            values[key] = {
                name: _value(value, n, drawn.get(name)) for name, value in figures.values(cell.index).items()
            }
    return values


def _null_values(
    truths: Sequence[_Truth],
    cases: Sequence[Case],
    masks: np.ndarray,
    images: np.ndarray | None,
    min_patients: int,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Figures of the null maps on the same images, by cohort; one stack of maps is in memory at a time."""
    empty: dict[str, float | None] = dict.fromkeys(LOCALIZATION_METRICS)
    nulls = {key: {name: dict(empty) for name in null_maps.MAPS} for truth in truths for key in truth.cells}
    if not any(cell.reason(min_patients) is None for truth in truths for cell in truth.cells.values()):
        return nulls
    images = grey_images(cases, masks.shape[-1]) if images is None else images
    for name, build in null_maps.builders(masks, images, [case.patient_id for case in cases]).items():
        _logger.info("null map %s", name)
        try:
            maps = build()
        except DataError as error:
            _logger.warning("null map %s is left out: %s", name, error)
            continue
        metrics = POOLED_METRICS if name in null_maps.POOLED_ONLY else LOCALIZATION_METRICS
        # Ranks within the image are their own ranks.
        ranks = maps if name == "brightness_ranked" else within_image_midranks(maps)
        for truth in truths:
            figures = _figures(truth, maps, ranks)
            for key, cell in truth.cells.items():
                if cell.reason(min_patients) is None:
                    values = figures.values(cell.index, metrics)
                    nulls[key][name].update({k: None if np.isnan(v) else rounded(v) for k, v in values.items()})
    return nulls


def _figures(truth: _Truth, maps: np.ndarray, ranks: np.ndarray) -> MapFigures:
    if len(truth.positions) == len(maps):
        return MapFigures(maps, truth.masks, truth.ignore, ranks)
    own = maps[truth.positions]
    return MapFigures(own, truth.masks, truth.ignore, own if ranks is maps else ranks[truth.positions])


def _value(value: float, n: int, replicates: np.ndarray | None) -> Value:
    if np.isnan(value):
        return unscored("no pixel inside the truth has a counterpart outside it to be compared with", n)
    return scored(value, n, None if replicates is None else finite_interval(replicates))
