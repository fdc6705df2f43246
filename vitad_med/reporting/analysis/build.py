"""From predictions to report.json: every cohort, every figure, every null map, and what is said of them in words."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from vitad_med.calibration import Calibration, check_binding, drift, operating_point
from vitad_med.calibration.run import run_intensities
from vitad_med.data.case import UNKNOWN
from vitad_med.evaluation.cohorts import cohort_keys, cohort_name, parse_key, select
from vitad_med.evaluation.document import Value
from vitad_med.evaluation.image_level import ImageFigures
from vitad_med.evaluation.verdict import localization_verdict
from vitad_med.metrics.bootstrap import patient_weights
from vitad_med.predictions.records import Predictions
from vitad_med.reporting.analysis.counts import cohort_counts, flow, suppress_small_counts
from vitad_med.reporting.analysis.gaps import gaps
from vitad_med.reporting.analysis.image_curves import Curve, delong, roc_curve, score_histogram
from vitad_med.reporting.analysis.notes import notes
from vitad_med.reporting.analysis.settings import ReportSettings
from vitad_med.reporting.analysis.study import LocalizationStudy, study_localization
from vitad_med.reporting.document.document import REPORT_SCHEMA as SCHEMA

_logger = logging.getLogger(__name__)

_METHOD_FACTS = ("model_digest", "pipeline_digest", "backend_digest", "score_rule", "software")


@dataclass(frozen=True)
class Report:
    """A report and what its table of images needs.

    Attributes:
        document: the content of report.json.
        p_values: conformal p-value of each image, float64 [N]; NaN for those that served the calibration.
        flagged: bool [N], flagged at the operating point.
        pixel_auroc: pixel AUROC within each image, float64 [N]; NaN where it is not localized.
        pointing_hit: pointing game of each image, float64 [N]; NaN where it is not localized.
    """

    document: dict[str, Any]
    p_values: np.ndarray
    flagged: np.ndarray
    pixel_auroc: np.ndarray
    pointing_hit: np.ndarray


def build_report(predictions: Predictions, settings: ReportSettings, calibration: Calibration | None = None) -> Report:
    """Compute a report.

    Args:
        predictions: scores and maps of a test set.
        settings: cohorts, replicates and rates.
        calibration: of the site's own normal images; without one the run's own normal patients are divided.

    Raises:
        DataError: the predictions contradict themselves.
        ConfigError: a cohort axis that does not exist, a rate that the calibration cannot reach, or a calibration of
            another model, pipeline or backend.
    """
    cases, scores, journal = predictions.cases, predictions.scores, predictions.journal
    if calibration is not None:
        check_binding(calibration, {name: getattr(journal, name) for name in _METHOD_FACTS})
    members = {key: select(cases, key) for key in cohort_keys(cases, settings.by)}
    members = {key: inside for key, inside in members.items() if not _repeats_all(key, inside)}
    labels = np.array([case.label for case in cases])
    patients = np.array([case.patient_id for case in cases], dtype=str)
    weights = patient_weights(patients, labels, settings.replicates, settings.seed)

    study = study_localization(predictions, members, weights, settings)
    _logger.info("image figures of %d images in %d cohorts", len(cases), len(members))
    images = ImageFigures(cases, scores, weights, settings.min_patients, settings.level)
    cohorts: dict[str, Any] = {}
    roc: dict[str, Any] = {}

    def of_images(inside: np.ndarray) -> tuple[dict[str, Value], Value, dict[str, float] | None, Curve | None]:
        figures, difference = images.cohort_beside_metadata(inside)
        if figures["image_auroc"]["value"] is None:
            return figures, difference, None, None
        own = scores[inside], labels[inside], patients[inside]
        curve = roc_curve(*own, weights[:, inside], settings.level)
        return figures, difference, delong(*own, settings.level), curve

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = list(pool.map(of_images, members.values()))
    for (key, inside), (figures, difference, checked, curve) in zip(members.items(), found, strict=True):
        verdict = localization_verdict(study.values[key]["conditioned_auroc"], study.differences[key])
        cohorts[key] = {
            "name": cohort_name(key),
            **cohort_counts(cases, inside, study.cells[key].n),
            "image": figures,
            "metadata_difference": difference,
            "delong": checked,
            "localization": study.values[key],
            "nulls": study.nulls[key],
            "differences": study.differences[key],
            "verdict": asdict(verdict),
        }
        if curve is not None:
            roc[key] = curve

    _logger.info("operating point, gaps between cohorts")
    point, p_values, flagged = operating_point(
        cases,
        scores,
        members,
        rate=settings.false_positive_rate,
        prevalence=settings.prevalence,
        seed=settings.seed,
        min_patients=settings.min_patients,
        calibration=calibration,
    )
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "method": {"name": journal.method, **{name: getattr(journal, name) for name in _METHOD_FACTS}},
        "data": {
            "name": journal.source,
            "public": journal.public,
            "identifiers": journal.identifiers,
            "data_digest": journal.data_digest,
            "digest": predictions.digest,
        },
        "created": journal.created,
        "settings": settings.document(predictions.eval_size),
        "flow": flow(cases, predictions.exclusions),
        "cohorts": cohorts,
        "gaps": gaps(cases, scores, weights, members, cohorts, study, settings),
        "operating_point": point,
        "curves": {"roc": roc, "froc": study.curves, "froc_nulls": study.null_curves},
        "distributions": score_histogram(scores, labels),
        "effects": study.effects,
        "drift": None,
    }
    if calibration is not None:
        document["drift"] = drift(cases, scores, run_intensities(predictions), calibration, seed=settings.seed)
    for name in ("calibration", "check"):
        if point[name] is not None:
            document["flow"][name] = {unit: point[name][unit] for unit in ("images", "patients")}
    document["notes"] = notes(
        document,
        settings,
        skipped_nulls=len(study.indices) > 0 and not study.with_images,
        assumed=predictions.notes,
        calibrated_on_itself=calibration is not None and _same(calibration.data_digest, journal.data_digest),
    )
    if not journal.public:
        suppress_small_counts(document, settings.min_patients, cases, members)
    return Report(
        document,
        p_values,
        flagged,
        _spread(study, study.image_auroc, len(cases)),
        _spread(study, study.hits, len(cases)),
    )


def _repeats_all(key: str, inside: np.ndarray) -> bool:
    """Where an axis is known of no image, its cohort "unknown" would repeat the lines of all images."""
    return bool(inside.all()) and set(parse_key(key).values()) == {UNKNOWN}


def _spread(study: LocalizationStudy, values: np.ndarray | None, images: int) -> np.ndarray:
    """Figures of the localized images at their places among all images."""
    spread = np.full(images, np.nan)
    if values is not None:
        spread[study.indices] = values
    return spread


def _same(first: str | None, second: str | None) -> bool:
    """Whether two digests are known and equal."""
    return first is not None and first == second
