"""Secondary capture: the overlay as an image that every viewer shows."""

from __future__ import annotations

import numpy as np
from highdicom.content import ReferencedImageSequence
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from vitad_med.errors import DataError
from vitad_med.findings.codes import SOURCE_IMAGE
from vitad_med.findings.making import ENCODINGS, NOTICE, Making, copy_loss, to_bytes
from vitad_med.findings.overlay import draw_overlay


def make_capture(making: Making, picture: NDArray[np.uint8], values: NDArray[np.float32]) -> bytes:
    """RGB of the radiograph's own size.

    Args:
        making: what it is made of.
        picture: the radiograph, uint8 [H, W], dark to light.
        values: the map at its geometry, float32 [H, W].

    Raises:
        DataError: the picture is not the radiograph's.
    """
    source, image = making.source, making.source.image
    if picture.shape != source.shape or picture.dtype != np.uint8:
        raise DataError(
            f"its picture is {picture.dtype} of {picture.shape} pixels, its header says {source.shape}; give the whole "
            "picture, uint8, at its own size"
        )
    pixels = draw_overlay(picture, values, making.regions, making.finding, making.provenance.method)
    common = making.common("sc")
    made = SCImage(
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # of the right form; the source's own replaces it
        study_instance_uid=source.study,
        transfer_syntax_uid=ENCODINGS[making.encoding],
        **common,
    )
    made.ConversionType = "WSD"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = (
        "Map of anomaly detection in colour over the radiograph, regions outlined; burned in are these and a caption "
        f"that names no patient; {NOTICE}"
    )
    made.SourceImageSequence = _source_image(image)
    copy_loss(image, made)
    for keyword in ("BurnedInAnnotation", "PixelSpacing", "PixelSpacingCalibrationType"):
        if keyword in image:
            made[keyword] = image[keyword]
    if source.aspect is not None and "PixelSpacing" not in made:
        made.PixelAspectRatio = list(source.aspect)
    if "PixelSpacingCalibrationType" in made:
        made.PixelSpacingCalibrationDescription = "As in the source image"
    return to_bytes(made, making)


def _source_image(image: Dataset) -> list[Dataset]:
    item = ReferencedImageSequence([image])[0]
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = SOURCE_IMAGE[:3]
    item.PurposeOfReferenceCodeSequence = [purpose]
    return [item]
