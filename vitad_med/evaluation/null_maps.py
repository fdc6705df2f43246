"""Null maps: what a map that knows nothing about the disease scores.

Pooled pixel AUROC rewards knowing where lungs are, and conditioned AUROC can still be gained by brightness. Every
localization figure therefore stands beside the figures of these maps on the same images and the same grid. All
functions return float32 [N, S, S]; greater means more suspicious.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vitad_med.errors import DataError
from vitad_med.metrics.conditioned import within_image_midranks

MAPS = ("centre_blob", "box_prior", "brightness", "brightness_ranked", "mirror_difference")

BOX_PRIOR_REASON = (
    "not a valid null map here: leaving a patient out lowers the prior exactly where that patient has a box"
)
"""Why ``box_prior`` has pooled figures only."""

POOLED_ONLY = {"box_prior": BOX_PRIOR_REASON}
"""Maps whose position-wise, conditioned and pointing figures are not reported, with the reason."""


def centre_blob(count: int, size: int) -> np.ndarray:
    """The same Gaussian bump for every image: exp(-((x-.5)/.3)^2 - ((y-.5)/.3)^2) at pixel centres, x, y in [0, 1].

    Its width was chosen with box statistics in view, so it counts as tuned.

    Returns:
        float32 [count, size, size] (a read-only view of one map).
    """
    axis = ((np.arange(size) + 0.5) / size - 0.5) / 0.3
    blob = np.exp(-(axis[:, None] ** 2) - axis[None, :] ** 2).astype(np.float32)
    return np.broadcast_to(blob, (count, size, size))


def box_prior(masks: np.ndarray, patient_ids: Sequence[str]) -> np.ndarray:
    """Mean truth mask of the *other* patients' localized images, whatever their cohort.

    Args:
        masks: bool [N, S, S], truth of every localized image.
        patient_ids: N identifiers.

    Raises:
        DataError: fewer than two patients, so that leaving one out leaves nothing.
    """
    patients = np.asarray(patient_ids)
    unique = np.unique(patients)
    if len(unique) < 2:
        raise DataError("The box prior needs localized images of at least two patients; evaluate a larger test set.")
    total = masks.sum(axis=0, dtype=np.int64)
    prior = np.empty(masks.shape, dtype=np.float32)
    for patient in unique:
        own = np.flatnonzero(patients == patient)
        prior[own] = (total - masks[own].sum(axis=0, dtype=np.int64)) / (len(masks) - len(own))
    return prior


def brightness(images: np.ndarray) -> np.ndarray:
    """The image itself: intensities resized bilinearly to the evaluation grid.

    Args:
        images: float [N, S, S], values 0..1.
    """
    return np.asarray(images, dtype=np.float32)


def brightness_ranked(images: np.ndarray) -> np.ndarray:
    """Mid-ranks of the intensities within each image: brightness without exposure."""
    return within_image_midranks(brightness(images)).astype(np.float32)


def mirror_difference(images: np.ndarray) -> np.ndarray:
    """Image minus its left-right mirror image, with its sign: brighter than the other side is suspicious."""
    image = brightness(images)
    return image - image[:, :, ::-1]


def box_area_constant(masks: np.ndarray) -> np.ndarray:
    """The fraction of the image inside its boxes, constant within an image.

    It knows the truth and nothing about place. It scores high on ``pixel_auroc`` and ``position_auroc`` and exactly
    0.5 on ``conditioned_auroc``: a check of metrics, not a null map of the report.
    """
    area = masks.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
    return np.broadcast_to(area[:, None, None], masks.shape)


def builders(masks: np.ndarray, images: np.ndarray, patient_ids: Sequence[str]) -> dict[str, Callable[[], np.ndarray]]:
    """One function for each of ``MAPS``, so that a caller holds one stack of maps in memory at a time."""
    return {
        "centre_blob": lambda: centre_blob(len(masks), masks.shape[-1]),
        "box_prior": lambda: box_prior(masks, patient_ids),
        "brightness": lambda: brightness(images),
        "brightness_ranked": lambda: brightness_ranked(images),
        "mirror_difference": lambda: mirror_difference(images),
    }
