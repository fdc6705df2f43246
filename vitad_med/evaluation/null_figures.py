"""Figures of the null maps on a test set; they depend on the images and on no method."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from vitad_med.data.case import Case
from vitad_med.errors import DataError
from vitad_med.evaluation import null_maps
from vitad_med.evaluation.cells import Truth
from vitad_med.evaluation.paired import Paired
from vitad_med.evaluation.truth import grey_images
from vitad_med.metrics.conditioned import within_image_midranks

POOLED_METRICS = ("pixel_auroc", "pixel_ap")
KEPT = 4  # test sets whose figures are remembered; some kilobytes each
_remembered: OrderedDict[Hashable, list[NullFigure]] = OrderedDict()
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NullFigure:
    """One null map in one cohort.

    Attributes:
        name: of the map.
        key: of the cohort.
        values: metric -> figure, NaN where there is none.
        paired: what differences in the conditioned AUROC need; None for maps with a pooled figure only.
    """

    name: str
    key: str
    values: dict[str, float]
    paired: Paired | None


def null_figures(
    truths: Sequence[Truth],
    cases: Sequence[Case],
    masks: np.ndarray,
    images: np.ndarray | None,
    weights: np.ndarray,
    min_patients: int,
    shared: Hashable | None = None,
) -> list[NullFigure]:
    """Figures of every null map in every cohort that is large enough.

    One stack of maps is in memory at a time.

    Args:
        truths: truth of the localized cases.
        cases: the L localized cases.
        masks: bool [L, S, S].
        images: float [L, S, S]; read from the cases' files when not given.
        weights: of the bootstrap, [replicates, L].
        min_patients: patients that a cell needs for a figure.
        shared: names the test set and all settings; an evaluation of this process with the same name takes the figures
            of the earlier one. None shares nothing.
    """
    if shared is not None and shared in _remembered:
        _remembered.move_to_end(shared)
        return _remembered[shared]
    found = _figures(truths, cases, masks, images, weights, min_patients)
    if shared is not None:
        _remembered[shared] = found
        while len(_remembered) > KEPT:
            _remembered.popitem(last=False)
    return found


def _figures(
    truths: Sequence[Truth],
    cases: Sequence[Case],
    masks: np.ndarray,
    images: np.ndarray | None,
    weights: np.ndarray,
    min_patients: int,
) -> list[NullFigure]:
    found: list[NullFigure] = []
    if not any(cell.reason(min_patients) is None for truth in truths for cell in truth.cells.values()):
        return found
    images = grey_images(cases, masks.shape[-1]) if images is None else images
    for name, build in null_maps.builders(masks, images, [case.patient_id for case in cases]).items():
        _logger.info("null map %s", name)
        try:
            maps = build()
        except DataError as error:
            _logger.warning("null map %s is left out: %s", name, error)
            continue
        pooled_only = name in null_maps.POOLED_ONLY
        # Ranks within the image are their own ranks.
        ranks = maps if name == "brightness_ranked" else within_image_midranks(maps)
        for truth in truths:
            figures = truth.figures(maps, ranks)
            for key, cell in truth.cells.items():
                if cell.reason(min_patients) is not None:
                    continue
                values = figures.values(cell.index, POOLED_METRICS if pooled_only else truth.metrics)
                paired = None
                if not pooled_only:
                    drawn = {}
                    if cell.has_interval():
                        drawn = figures.replicates(cell.index, weights[:, truth.positions], ("conditioned_auroc",))
                    paired = Paired(values["conditioned_auroc"], drawn.get("conditioned_auroc"))
                found.append(NullFigure(name, key, values, paired))
    return found
