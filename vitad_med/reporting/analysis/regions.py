"""The truth regions of localized images that FROC counts: boxes, or connected parts of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitad_med.data.case import Case
from vitad_med.metrics.regions import grid_rectangle, mask_regions


@dataclass(frozen=True)
class TruthRegions:
    """Regions of L localized images.

    Attributes:
        regions: for each image int [K, 4] of rectangles, or bool [K, S, S].
        findings: finding of each region of all images in turn; of a mask's parts all findings of the image.
    """

    regions: list[np.ndarray]
    findings: list[tuple[str, ...]]

    @classmethod
    def of(cls, cases: Sequence[Case], masks: np.ndarray) -> TruthRegions:
        """Regions of the cases on the grid of ``masks`` bool [L, S, S]."""
        size = masks.shape[-1]
        regions: list[np.ndarray] = []
        findings: list[tuple[str, ...]] = []
        for case, mask in zip(cases, masks, strict=True):
            if case.mask_path is not None:
                parts = mask_regions(mask)
                regions.append(parts)
                findings += [case.findings] * len(parts)
            else:
                boxes = [grid_rectangle(box.x, box.y, box.width, box.height, size) for box in case.boxes]
                regions.append(np.array(boxes, dtype=np.int64).reshape(-1, 4))
                findings += [(box.finding,) for box in case.boxes]
        return cls(regions, findings)

    def of_finding(self, finding: str | None) -> np.ndarray | None:
        """Which regions show a finding, bool [G]; None for all of them."""
        return None if finding is None else np.array([finding in each for each in self.findings], dtype=bool)
