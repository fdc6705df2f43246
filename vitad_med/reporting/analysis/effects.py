"""How localization depends on the size of the finding and on where in the image it lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitad_med.data.case import Case
from vitad_med.evaluation.cells import Cell
from vitad_med.evaluation.document import unscored
from vitad_med.evaluation.paired import map_figure
from vitad_med.metrics.conditioned import PairMatrices
from vitad_med.metrics.localization import weighted_mean

_SIZES = ("smallest third", "middle third", "largest third")
_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


def area_thirds(masks: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Third of each localized image by the share of the image that its truth covers.

    Args:
        masks: bool [L, S, S].

    Returns:
        int [L] in 0..2, and the two limits between the thirds as shares of the image.
    """
    area = masks.mean(axis=(1, 2), dtype=np.float64)
    limits = np.quantile(area, [1 / 3, 2 / 3]) if len(area) else np.zeros(2)
    return np.searchsorted(limits, area, side="right"), (float(limits[0]), float(limits[1]))


def positions(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the centre of each image's truth on a 3 x 3 grid, int [L] each; row 0 is the top."""
    axis = np.arange(masks.shape[-1]) + 0.5
    total = masks.sum(axis=(1, 2))
    y = masks.sum(axis=2) @ axis / total / masks.shape[-1]
    x = masks.sum(axis=1) @ axis / total / masks.shape[-1]
    return np.minimum((y * 3).astype(int), 2), np.minimum((x * 3).astype(int), 2)


def effects(
    cases: Sequence[Case],
    masks: np.ndarray,
    matrices: PairMatrices,
    hits: np.ndarray,
    weights: np.ndarray,
    min_patients: int,
    level: float,
) -> dict[str, list[dict[str, Any]]]:
    """``conditioned_auroc`` and ``pointing_game`` of the images in each third of size and each ninth of the picture.

    The positives are those of the group's images; they are compared with all localized images. A zone is that of the
    image as it is stored: the picture's left is the patient's right in a usual PA or AP view.

    Args:
        cases: the L localized cases.
        masks: bool [L, S, S].
        matrices: pair matrices of the within-image ranks.
        hits: pointing game of each image, [L].
        weights: bootstrap counts [R, L].
        min_patients: patients that a group needs.
        level: of the intervals.
    """
    patients = np.array([case.patient_id for case in cases], dtype=str)

    def figures(inside: np.ndarray) -> dict[str, Any]:
        cell = Cell(inside, patients)
        reason = cell.reason(min_patients)
        if reason is not None:
            none = unscored(reason, cell.n)
            return {"images": cell.n, "conditioned_auroc": none, "pointing_game": none}
        enough = cell.has_interval()
        conditioned = np.asarray(matrices.auroc(weights, positives=inside)) if enough else None
        pointing = np.asarray(weighted_mean(hits, weights * inside)) if enough else None
        return {
            "images": cell.n,
            "conditioned_auroc": map_figure(float(matrices.auroc(positives=inside)), cell, conditioned, level),
            "pointing_game": map_figure(float(weighted_mean(hits[inside])), cell, pointing, level),
        }

    third, (low, high) = area_thirds(masks)
    sizes = [f"under {low:.1%}", f"{low:.1%} to {high:.1%}", f"over {high:.1%}"]
    row, column = positions(masks)
    return {
        "box_area": [
            {"group": f"{_SIZES[i]} ({sizes[i].replace('%', ' %')} of the image)", **figures(third == i)}
            for i in range(3)
        ],
        "position": [
            {"group": f"{_ROWS[r]} {_COLUMNS[c]}", "row": r, "column": c, **figures((row == r) & (column == c))}
            for r in range(3)
            for c in range(3)
        ],
    }
