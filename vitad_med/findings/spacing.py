"""Millimetres of a pixel, with their source; without one there are none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pydicom.dataset import Dataset

CALIBRATED = ("GEOMETRY", "FIDUCIAL")
"""Defined terms of PixelSpacingCalibrationType (0028,0A02), PS3.3 10.7.1.1."""


@dataclass(frozen=True, slots=True)
class Spacing:
    """Distance of the centres of neighbouring pixels.

    Attributes:
        rows, columns: mm between two rows, between two columns.
        source: ``GEOMETRY`` or ``FIDUCIAL``: calibrated so in the patient; ``DETECTOR``: at the detector's surface,
            where the shadow is larger than what casts it.
    """

    rows: float
    columns: float
    source: Literal["GEOMETRY", "FIDUCIAL", "DETECTOR"]


def read_spacing(header: Dataset) -> Spacing | None:
    """PixelSpacing if a calibration type stands beside it, else ImagerPixelSpacing, else nothing.

    PixelSpacing alone says of a projection neither that it is calibrated nor that it is not (PS3.3 10.7.1.3).
    """
    kind = str(header.get("PixelSpacingCalibrationType") or "").strip().upper()
    for source in CALIBRATED:
        if kind == source and (found := _pair(header, "PixelSpacing")):
            return Spacing(*found, source)  # type: ignore[arg-type]
    found = _pair(header, "ImagerPixelSpacing")
    return Spacing(*found, "DETECTOR") if found else None


def aspect_ratio(header: Dataset) -> tuple[int, int] | None:
    """Height and width of a pixel in whole numbers, from its spacings or PixelAspectRatio; None for a square.

    Whether a spacing is calibrated does not matter here: both sides are magnified alike.
    """
    pairs = (_pair(header, keyword) for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"))
    height, width = next((pair for pair in pairs if pair), (1.0, 1.0))
    ratio = Fraction(height / width).limit_denominator(1000)
    return None if ratio in (0, 1) else (ratio.numerator, ratio.denominator)


def _pair(header: Dataset, keyword: str) -> tuple[float, float] | None:
    try:
        rows, columns = (float(value) for value in header.get(keyword) or ())
    except (TypeError, ValueError):
        return None
    return (rows, columns) if all(math.isfinite(one) and one > 0 for one in (rows, columns)) else None
