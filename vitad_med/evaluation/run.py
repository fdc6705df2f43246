"""The last step of a bundle's evaluation: from predictions to the files in ``output_dir``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitad_med.data.case import Case
from vitad_med.evaluation.document import Document, write_metrics
from vitad_med.evaluation.images_csv import write_images_csv
from vitad_med.evaluation.overlays import write_overlays
from vitad_med.evaluation.summary import MIN_PATIENTS, summarize
from vitad_med.evaluation.truth import truth_masks
from vitad_med.metrics.localization import image_aurocs, pointing_hits
from vitad_med.predictions.identifiers import Identifiers, default_identifiers, public_names

_logger = logging.getLogger(__name__)


def evaluate_predictions(
    cases: Sequence[Case],
    scores: np.ndarray,
    maps: np.ndarray,
    output_dir: str | Path,
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
    identifiers: Identifiers | None = None,
    identifier_key: bytes | None = None,
    overlays: int = 6,
    pipeline: Mapping[str, Any] | None = None,
    score_rule: str | None = None,
) -> Document:
    """Write ``metrics.json``, ``images.csv``, ``overlays/best.png`` and ``overlays/worst.png``.

    Args:
        cases: N test cases.
        scores: float [N].
        maps: float [L, eval_size, eval_size], maps of the L localized cases in the order of ``cases``; may be
            memory-mapped.
        output_dir: folder for the files; made when missing.
        bundle: name of the method.
        model_digest: digest of the weights.
        data_digest: digest of the cases.
        eval_size: side of the evaluation grid in pixels.
        by: cohorts beside ``all``, each a tuple of axes to cross.
        images: float [L, eval_size, eval_size] for the null maps; read from the cases' files when not given.
        replicates: bootstrap replicates.
        seed: of the bootstrap.
        min_patients: patients that each class of a cell needs for a figure.
        identifiers: ``clear`` or ``hashed``; when not given, clear for published data sets and hashed for all others.
        identifier_key: secret of ``hashed``.
        overlays: cases on each sheet of pictures, 0 for none.
        pipeline: settings that change scores, plain values.
        score_rule: what the image score is, in words.

    Returns:
        The document in ``metrics.json``; ``vitad_med.evaluation.table.print_table`` shows it.

    Raises:
        DataError: predictions do not fit the cases, or hold NaN or infinite values.
        ConfigError: an unknown cohort axis, or hashed identifiers without a key.
        StorageError: a file cannot be written.
    """
    folder = Path(output_dir)
    naming = default_identifiers(cases) if identifiers is None else identifiers
    # A missing key is found here rather than after minutes of work.
    public_names(cases, naming, identifier_key)
    document = summarize(
        cases,
        scores,
        maps,
        bundle=bundle,
        model_digest=model_digest,
        data_digest=data_digest,
        eval_size=eval_size,
        by=by,
        images=images,
        replicates=replicates,
        seed=seed,
        min_patients=min_patients,
        pipeline=pipeline,
        score_rule=score_rule,
    )
    localized = [case for case in cases if case.localized]
    masks = truth_masks(localized, eval_size)
    aurocs = image_aurocs(maps, masks)
    write_images_csv(
        folder / "images.csv",
        cases,
        np.asarray(scores),
        pixel_auroc=aurocs,
        pointing_hit=pointing_hits(maps, masks),
        identifiers=naming,
        identifier_key=identifier_key,
    )
    if overlays:
        local_scores = np.asarray(scores)[[case.localized for case in cases]]
        write_overlays(
            folder / "overlays",
            localized,
            local_scores,
            maps,
            aurocs,
            count=overlays,
            identifiers=naming,
            identifier_key=identifier_key,
        )
    # Last, so that a folder with metrics.json is a finished evaluation.
    write_metrics(folder / "metrics.json", document)
    _logger.info("wrote %s", folder / "metrics.json")
    return document
