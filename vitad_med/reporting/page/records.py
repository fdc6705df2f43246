"""What the worklist shows of one image, and its pictures."""

from __future__ import annotations

from dataclasses import dataclass

Corners = tuple[float, float, float, float]
"""A box: x, y, width, height in fractions of the image."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image of the worklist, a line of the report's ``images.csv``.

    Attributes:
        image: name of the image as it may leave the site: clear or hashed.
        patient: name of its patient, likewise.
        score: the image score, higher where more anomalous.
        label: 0 normal, 1 abnormal, None where it is not known.
        p_value: conformal p-value, 0..1; None without a calibration.
        flagged: whether the score is above the threshold; None without one.
        sex: ``M``, ``F`` or ``unknown``.
        view: ``PA``, ``AP`` or ``unknown``.
        age_band: ``0-17``, ``18-39``, ``40-64``, ``65+`` or ``unknown``.
        findings: image-level findings, empty for a normal image.
        columns: further (axis, value) pairs; every row has the same axes in the same order.
        localized: whether a box or mask says where the image is abnormal.
        pixel_auroc: the image's own pixel AUROC, 0..1; None where it is not localized.
        pointing_hit: share of the map's highest pixels that lie in the truth, 0..1; None likewise.
    """

    image: str
    patient: str
    score: float
    label: int | None = None
    p_value: float | None = None
    flagged: bool | None = None
    sex: str = "unknown"
    view: str = "unknown"
    age_band: str = "unknown"
    findings: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    localized: bool = False
    pixel_auroc: float | None = None
    pointing_hit: float | None = None


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """The pictures of one row.

    Attributes:
        index: position of the row in the list of rows.
        xray: a JPEG of the image, or the name of one relative to the page.
        heat: a PNG of the heat map with transparency, or the name of one; of the same shape as ``xray``.
        boxes: annotated boxes.
        outline: outline of a mask: closed polygons of (x, y) in fractions of the image.
    """

    index: int
    xray: bytes | str
    heat: bytes | str
    boxes: tuple[Corners, ...] = ()
    outline: tuple[tuple[tuple[float, float], ...], ...] = ()
