"""Which images are trained on, and which are left out: said before training begins."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vitad_med.data import mvtec
from vitad_med.data.case import Case
from vitad_med.data.registry import read_cases
from vitad_med.data.splits import split_digest
from vitad_med.digests import short
from vitad_med.engines.setup import training_cases

# Options with which a reader counts the images of training without asking for files that it does not need.
_TABLES_ALONE: dict[str, dict[str, Any]] = {
    "nih_chestxray14": {"require_images": False},
    "mvtec": {"require_masks": False},
}
# Readers that know nothing of their images.
_UNLABELLED = ("image_folder", "dicom")

logger = logging.getLogger(__name__)


def check_encoder_images(weights: str, cases: Sequence[Case]) -> None:
    """Warn where an encoder of one's own was pre-trained on other images than are trained on now.

    Then images that are held out to validate may have been learned from. Encoders that do not say what they were made
    of, as the embedded one and those of timm, are passed over.

    Args:
        weights: of a bundle's ``train.json``.
        cases: training images.
    """
    path = Path(weights)
    if path.suffix != ".safetensors" or not path.is_file():
        return
    try:
        with safe_open(path, "pt") as file:
            made = file.metadata() or {}
    except (SafetensorError, OSError):
        return  # what reads the weights says what is wrong
    here = split_digest(cases)
    there = made.get("split_digest", here)
    if there != here:
        logger.warning(
            "the encoder was pre-trained on other images (split digest %s there, %s here), so images of validation may "
            "be among them: train with its val_fraction %s and split_seed %s, on the same data",
            short(there),
            short(here),
            made.get("val_fraction", "(not told)"),
            made.get("split_seed", "(not told)"),
        )


def training_summary(
    data: str, dataset_dir: str, val_fraction: float, split_seed: int, options: Mapping[str, Any]
) -> tuple[list[Case], dict[str, Any]]:
    """Normal images to train on, and what was left out; a log line says it, so that a mistake in the folder shows.

    Returns:
        cases as :func:`~vitad_med.engines.setup.training_cases` gives them, and counts for the result file, with the
        source, the options and a digest of the list.
    """
    cases = training_cases(data, dataset_dir, val_fraction, split_seed, options)
    trained = {case.case_id for case in cases}
    counts: dict[str, Any] = {
        "data": data,
        "split_digest": split_digest(cases),
        "val_fraction": val_fraction,
        "split_seed": split_seed,
        **{name: value for name, value in options.items() if value is not None},
        "images": len(cases),
        "patients": len({case.patient_id for case in cases}),
    }
    if data in _UNLABELLED:
        counts["labels"] = "unknown: every image is taken as normal"
        logger.warning(
            "%d training images of %d patients; no labels: every image is taken as normal, so an abnormal one among "
            "them is learned as normal",
            counts["images"],
            counts["patients"],
        )
        return cases, counts
    everyone = read_cases(data, dataset_dir, "all", **options, **_TABLES_ALONE.get(data, {}))
    listed = [case for case in everyone if case.split != "test"]
    abnormal = sum(case.label for case in listed)
    if data == mvtec.SOURCE:  # its reader never opens such folders
        abnormal += mvtec.count_abnormal_training_images(dataset_dir, options.get("category") or "all")
    held_out = sum(case.case_id not in trained and case.label == 0 for case in listed)
    counts |= {"labels": "of the data set", "normal_held_out": held_out, "abnormal_left_out": abnormal}
    say = logger.warning if abnormal else logger.info
    say(
        "training images: %d normal of %d patients; left out: %d abnormal as labelled, %d normal for validation",
        counts["images"],
        counts["patients"],
        abnormal,
        held_out,
    )
    return cases, counts
