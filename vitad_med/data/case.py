"""The one record that every reader returns and that travels through training, scoring and reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

Split = Literal["train", "val", "test"]
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box in fractions of the image: 0 is the left or top edge, 1 the right or bottom edge."""

    x: float
    y: float
    width: float
    height: float
    finding: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One image with what is known about it.

    Attributes:
        case_id: unique in its data set, e.g. ``00000013_005`` or ``screw/test/thread_top/003``.
        patient_id: the unit that splits and bootstrap resample; equals ``case_id`` where there are no patients.
        image_path: file to read.
        source: reader that made the record, e.g. ``nih_chestxray14`` or ``mvtec``.
        split: ``train``, ``val`` or ``test``.
        label: 0 normal, 1 abnormal.
        sex: ``M``, ``F`` or ``unknown``.
        view: ``PA``, ``AP`` or ``unknown``.
        age: years, or None when unknown or impossible.
        findings: image-level findings, empty for a normal image.
        boxes: annotated boxes; an abnormal image without boxes or mask takes no part in localization metrics.
        mask_path: pixel-exact truth, where the data set has it.
        group: sub-collection, e.g. the MVTec category.
        columns: further (name, value) pairs by which cohorts can be formed, e.g. ``("scanner", "B")``.
    """

    case_id: str
    patient_id: str
    image_path: Path
    source: str
    split: Split
    label: int
    sex: str = UNKNOWN
    view: str = UNKNOWN
    age: float | None = None
    findings: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = field(default=())
    mask_path: Path | None = None
    group: str = ""
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def localized(self) -> bool:
        """Whether a ground truth exists that says *where* the image is abnormal."""
        return bool(self.boxes) or self.mask_path is not None


def box_mask(boxes: tuple[Box, ...], height: int, width: int) -> np.ndarray:
    """Rasterise boxes: a pixel is inside a box when its centre is.

    Returns:
        bool array [height, width].
    """
    ys = (np.arange(height) + 0.5) / height
    xs = (np.arange(width) + 0.5) / width
    mask = np.zeros((height, width), dtype=bool)
    for box in boxes:
        rows = (ys >= box.y) & (ys < box.y + box.height)
        columns = (xs >= box.x) & (xs < box.x + box.width)
        mask |= rows[:, None] & columns[None, :]
    return mask
