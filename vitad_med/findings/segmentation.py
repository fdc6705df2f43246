"""DICOM Segmentation: the regions as a binary mask, or the whole map."""

from __future__ import annotations

import numpy as np
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray

from vitad_med.data.dicom.codes import MANUFACTURER
from vitad_med.findings.codes import ABNORMAL, ARTIFICIAL_INTELLIGENCE
from vitad_med.findings.making import ENCODINGS, NOTICE, UNCOMPRESSED, Making, copy_loss, to_bytes

LEVELS = 255


def make_binary(making: Making) -> bytes:
    """One segment with all regions, a bit a pixel.

    A segment a region would repeat the whole frame for each of them, and viewers colour what they list: which region is
    which stands in the structured report.
    """
    mask = np.zeros(making.source.shape, dtype=np.uint8)
    for region in making.regions:
        top, bottom, left, right = region.box
        mask[top:bottom, left:right] |= region.mask.astype(np.uint8)
    return _make(making, "seg", mask, SegmentationTypeValues.BINARY, "Regions flagged by anomaly detection")


def make_fractional(making: Making, values: NDArray[np.float32]) -> bytes:
    """The whole map, its lowest value of this image as 0 and its highest as 255.

    The standard knows probabilities and occupancies; the map is neither. It is written as the former, because viewers
    show that, and the label says that it is none.
    """
    low, high = float(values.min()), float(values.max())
    scaled = (values - np.float32(low)) / np.float32(high - low)
    label = f"Anomaly map, no probability: {low:.6g} to {high:.6g}"
    return _make(making, "seg_fractional", scaled, SegmentationTypeValues.FRACTIONAL, label)


def _make(
    making: Making,
    kind: str,
    pixels: NDArray[np.generic],
    segmentation_type: SegmentationTypeValues,
    label: str,
) -> bytes:
    provenance, source = making.provenance, making.source
    algorithm = AlgorithmIdentificationSequence(
        name=provenance.method[:64],
        version=(provenance.version or "unknown")[:64],
        family=ARTIFICIAL_INTELLIGENCE,
        source=MANUFACTURER,
        parameters={"model_sha256": provenance.model_digest, "config_sha256": provenance.config_digest},
    )
    segment = SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=ABNORMAL,
        segmented_property_type=ABNORMAL,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=making.uid(f"segment {kind}"),
        tracking_id=label,
    )
    made = Segmentation(
        source_images=[source.image],
        pixel_array=pixels,
        segmentation_type=segmentation_type,
        segment_descriptions=[segment],
        max_fractional_value=LEVELS,
        transfer_syntax_uid=ENCODINGS[making.encoding if kind == "seg_fractional" else UNCOMPRESSED],
        content_label="ANOMALY",
        content_description=f"{label}; {NOTICE}"[:64],
        **making.common(kind),
    )
    organization = making.uid(f"dimensions {kind}")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    if "BurnedInAnnotation" in source.image:
        made.BurnedInAnnotation = source.image.BurnedInAnnotation
    if source.image.get("LossyImageCompression") == "01":
        copy_loss(source.image, made)
    if source.aspect is not None:
        made.PixelAspectRatio = list(source.aspect)
    return to_bytes(made, making)
