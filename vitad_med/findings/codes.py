"""Coded concepts of the objects: standard ones where the standard has them, a private scheme where it has none."""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

SCHEME = "99VITADMED"
"""Designator of the private coding scheme; 99 begins those (PS3.3 8.2)."""


def coding_schemes() -> list[CodingSchemeIdentificationItem]:
    """What says whose the private scheme is (PS3.3 C.12.1), which a reader cannot look up anywhere."""
    return [
        CodingSchemeIdentificationItem(
            designator=SCHEME,
            name="vitad_med: anomaly detection in medical images",
            version="1",
            responsible_organization="vitad_med",
        )
    ]


def _private(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


# What was found. No code of a disease or of certainty: the first is not known, the second is a percentage.
REGION = _private("REGION", "Region flagged by anomaly detection")
IMAGE = _private("IMAGE", "Radiograph scored by anomaly detection")

# Measurements.
SCORE = _private("SCORE", "Anomaly score of the image")
THRESHOLD = _private("THRESHOLD", "Anomaly score above which an image is flagged")
P_VALUE = _private("P_VALUE", "Conformal p-value of the anomaly score")
PEAK = _private("PEAK", "Peak of the anomaly map in the region")
AREA = _private("AREA", "Area of the region in pixels")
AREA_IN_MM2 = {
    "GEOMETRY": _private("AREA_GEOMETRY", "Area, pixel spacing calibrated by geometry"),
    "FIDUCIAL": _private("AREA_FIDUCIAL", "Area, pixel spacing calibrated by a fiducial"),
    "DETECTOR": _private("AREA_DETECTOR", "Area at the detector, not corrected for magnification"),
}

# The result of an image, and its values.
RESULT = _private("RESULT", "Result of anomaly detection")
FLAGGED = _private("FLAGGED", "Flagged by anomaly detection")
NOT_FLAGGED = _private("NOT_FLAGGED", "Nothing flagged by anomaly detection")
NO_THRESHOLD = _private("NO_THRESHOLD", "Not judged: no calibration, so no threshold")
NOT_JUDGED = _private("NOT_JUDGED", "Not judged: outside of the bundle's intended use")
USE = _private("USE", "Use of the algorithm")
OUTSIDE_USE = _private("OUTSIDE_USE", "Outside of the intended use: no p-value")

SCORE_UNIT = Code("{score}", "UCUM", "score")
PIXELS = Code("{pixels}", "UCUM", "pixels")
MM2 = Code("mm2", "UCUM", "square millimeter")
NO_UNIT = Code("1", "UCUM", "no units")

ABNORMAL = Code("49755003", "SCT", "Morphologically abnormal structure")
"""Category and type of segments (PS3.16 CID 7150): looks abnormal, and no disease."""

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCEDURE = Code("363680008", "SCT", "Radiographic imaging procedure")
COMMENT = Code("121106", "DCM", "Comment")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
