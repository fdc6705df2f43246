"""A calibration from predictions on disk: which of its images are used, and what a site should know about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from vitad_med.calibration.document import Calibration
from vitad_med.calibration.image_set import THUMBNAIL, copies, patients_known, unlike
from vitad_med.calibration.intensity import intensity_table
from vitad_med.calibration.reference import build_calibration
from vitad_med.data.case import Case
from vitad_med.data.image_io import resize
from vitad_med.errors import DataError
from vitad_med.predictions.records import Predictions

_UNKNOWN_PATIENTS = (
    "Every image counts as a patient of its own. Where patients have several images, give each patient a folder: "
    "otherwise the rate can be missed."
)


@dataclass(frozen=True)
class Remark:
    """Something about the images that whoever calibrates should know.

    Attributes:
        text: one plain sentence without names.
        images: names of the images that it is about, where there are any; for the site's own eyes.
    """

    text: str
    images: tuple[str, ...] = ()


def normal_cases(cases: Sequence[Case]) -> list[Case]:
    """The normal ones, so that no time goes into scoring others; a bundle's config can name this function.

    Raises:
        DataError: none is normal.
    """
    normal = [case for case in cases if case.label == 0]
    if not normal:
        raise DataError("No image is normal; a calibration is made on normal images alone.")
    return normal


def calibrate_predictions(
    predictions: Predictions, *, false_positive_rate: float = 0.1, check_fraction: float = 0.3, seed: int = 0
) -> tuple[Calibration, list[Remark]]:
    """Calibrate on the normal images of a run.

    Abnormal images and files whose content occurs before are left out. Nothing else is: an image that looks unlike the
    others may be what the site's scanner makes, so it is named and kept.

    Args:
        predictions: a run whose journal has digests.
        false_positive_rate, check_fraction, seed: see :func:`~vitad_med.calibration.reference.build_calibration`.

    Raises:
        ConfigError: as ``build_calibration``.
        DataError: no normal image, or images that the model was trained on.
    """
    remarks = []
    normal_cases(predictions.cases)
    normal = [index for index, case in enumerate(predictions.cases) if case.label == 0]
    if len(normal) < len(predictions.cases):
        remarks.append(Remark(f"{len(predictions.cases) - len(normal)} abnormal images are left out."))
    if any(predictions.cases[index].split == "train" for index in normal):
        raise DataError(
            "The run holds images of the section 'train', whose scores the training has seen: calibrate on images of "
            "other patients."
        )
    pictures = all(predictions.has_image(index) for index in normal)
    if pictures:
        repeated = {normal[position] for position in copies([predictions.cases[index] for index in normal]).tolist()}
        if repeated:
            names = tuple(predictions.cases[index].case_id for index in sorted(repeated))
            remarks.append(copies_remark(names))
        normal = [index for index in normal if index not in repeated]
    cases = [predictions.cases[index] for index in normal]
    remarks += patient_remarks(cases)
    intensities: dict[str, NDArray[np.float64]] = {}
    if pictures:
        thumbnails = np.empty((len(normal), THUMBNAIL, THUMBNAIL), dtype=np.float32)
        intensities = intensity_table(_pictures(predictions, normal, thumbnails))
        remarks += unlike_remarks([case.case_id for case in cases], intensities, thumbnails)
    else:
        remarks.append(Remark("The run has no pictures, so a later drift of intensities cannot be seen."))
    calibration = build_calibration(
        cases,
        predictions.scores[normal],
        intensities,
        {name: value for name, value in asdict(predictions.journal).items() if name.endswith("_digest")},
        false_positive_rate=false_positive_rate,
        check_fraction=check_fraction,
        seed=seed,
        method=predictions.journal.method,
        created=predictions.journal.created,
    )
    return calibration, remarks


def run_intensities(predictions: Predictions) -> dict[str, NDArray[np.float64]]:
    """Intensity statistics of every image of a run, as :func:`~vitad_med.calibration.drift.drift` takes them.

    Returns:
        Quantity -> float64 [N]; empty where a picture is missing.
    """
    indices = range(len(predictions.cases))
    if not all(predictions.has_image(index) for index in indices):
        return {}
    return intensity_table(predictions.image(index) for index in indices)


def _pictures(
    predictions: Predictions, indices: list[int], thumbnails: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Pictures one by one, each leaving its small copy behind, so that every file is decoded once."""
    for row, index in enumerate(indices):
        picture = predictions.image(index)
        thumbnails[row] = resize(picture, THUMBNAIL)
        yield picture


def patient_remarks(cases: Sequence[Case]) -> list[Remark]:
    """That nothing says which images belong to one patient, where nothing does."""
    return [] if patients_known(cases) else [Remark(_UNKNOWN_PATIENTS)]


def copies_remark(names: tuple[str, ...]) -> Remark:
    """About images that are left out because another has their pixels."""
    return Remark(f"{_images(len(names))} left out: the same picture is there already.", names)


def unlike_remarks(
    names: Sequence[str], intensities: Mapping[str, NDArray[np.float64]], thumbnails: NDArray[np.float32]
) -> list[Remark]:
    """About images that look unlike the others.

    Args:
        names: of N images.
        intensities, thumbnails: see :func:`~vitad_med.calibration.image_set.unlike`.
    """
    remarks = []
    for what, rows in unlike(intensities, thumbnails).items():
        names_of = tuple(names[row] for row in rows.tolist())
        subject = "1 image differs" if len(names_of) == 1 else f"{len(names_of)} images differ"
        text = f"{subject} strongly from the others in {what}"
        hint = ", perhaps a negative or another view" if what == "layout" else ""
        remarks.append(Remark(f"{text}{hint}: have a look before you trust this calibration.", names_of))
    return remarks


def _images(count: int) -> str:
    return "1 image is" if count == 1 else f"{count} images are"
