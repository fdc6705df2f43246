"""Every localization figure of one kind of map, for every cohort, with intervals."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vitad_med.data.case import Case
from vitad_med.evaluation.cells import Cell, Truth
from vitad_med.evaluation.document import LOCALIZATION_METRICS, Value, rounded, unscored
from vitad_med.evaluation.paired import Paired, map_figure
from vitad_med.metrics.aupro import aupro
from vitad_med.metrics.bootstrap import no_interval_reason
from vitad_med.metrics.conditioned import PairMatrices
from vitad_med.metrics.froc import GRID, Froc, froc_figures
from vitad_med.metrics.pixel_threshold import pixel_thresholds
from vitad_med.reporting.analysis.image_ratios import IOBB, IOU, RATIOS, image_ratios, ratio
from vitad_med.reporting.analysis.map_streams import thinned
from vitad_med.reporting.analysis.regions import TruthRegions
from vitad_med.reporting.analysis.sources import MapSource, ranks_of

_logger = logging.getLogger(__name__)

THRESHOLD_IMAGES = 2000
"""Normal images that set pixel thresholds at most, a regular sample of more: a hundred million pixels."""

FROC = ("froc_mean", "froc_1")
METRICS = (
    *(name for name in LOCALIZATION_METRICS if name != "pointing_game"),
    "mean_image_auroc",
    "pointing_game",
    "aupro",
    "aupro_100",
    *IOU,
    *IOBB,
    *FROC,
)

_NEEDS_OUTLINES = "boxes are not outlines; AUPRO needs pixel-exact masks"
_NEEDS_NORMALS = "no normal images with a map in the cohort to set thresholds and count false positives"
_NOT_VALID = "not a valid null map for this figure"

Curve = dict[str, list[float] | None]


@dataclass(frozen=True)
class Group:
    """The images that localization figures are about.

    Attributes:
        cases: the L localized cases.
        regions: their truth regions.
        truths: see :func:`vitad_med.evaluation.cells.make_truths`.
        weights: bootstrap counts of the localized images, [R, L].
        normal_patients: text [M], patients of the normal images that have a map.
        normal_weights: bootstrap counts of those, [R, M].
        normal_members: bool [M] for each cohort key.
        min_patients: patients that a cell needs.
        level: of the intervals.
    """

    cases: Sequence[Case]
    regions: TruthRegions
    truths: Sequence[Truth]
    weights: np.ndarray
    normal_patients: np.ndarray
    normal_weights: np.ndarray
    normal_members: Mapping[str, np.ndarray]
    min_patients: int
    level: float

    @property
    def outlines(self) -> bool:
        """Whether the truth of every image is pixel-exact."""
        return all(truth.outlines for truth in self.truths)


@dataclass
class SourceFigures:
    """What one kind of map scores.

    Attributes:
        values: figures by cohort and metric.
        paired: ``conditioned_auroc`` with its replicates, by cohort.
        curves: FROC curves by cohort.
        matrices: pair matrices of the ranks of all localized images under the whole truth.
        hits: pointing game of each localized image under the whole truth, [L].
        image_auroc: pixel AUROC within each localized image, [L].
    """

    values: dict[str, dict[str, Value]] = field(default_factory=dict)
    paired: dict[str, Paired] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    matrices: PairMatrices | None = None
    hits: np.ndarray | None = None
    image_auroc: np.ndarray | None = None


def source_figures(source: MapSource, group: Group) -> SourceFigures:
    """Compute all figures of a kind of map on the images of a group."""
    _logger.info("localization figures: %s", source.name.replace("_", " "))
    result = SourceFigures()
    maps = source.stack()
    ranks = ranks_of(source, maps)
    thresholds = pixel_thresholds(thinned(source.normal, THRESHOLD_IMAGES)) if len(source.normal) else ()
    froc = None
    if thresholds:
        froc = Froc.build(source.normal, maps, group.regions.regions, thresholds[-1].threshold)
    plain = [name for name in METRICS if name in (source.metrics or LOCALIZATION_METRICS)]
    for truth in group.truths:
        figures = truth.figures(maps, ranks)
        parts = image_ratios(figures, thresholds, group.outlines) if source.metrics is None else {}
        if truth.finding is None and source.metrics is None:
            result.matrices, result.hits = figures.conditioned, figures.hits
            numerator, known = parts["mean_image_auroc"]
            result.image_auroc = np.where(known > 0, numerator, np.nan)
        for key, cell in truth.cells.items():
            reason = cell.reason(group.min_patients)
            if reason is not None:
                result.values[key] = {name: unscored(reason, cell.n) for name in METRICS}
                continue
            weights = group.weights[:, truth.positions] if cell.has_interval() else None
            points = figures.values(cell.index, plain)
            drawn = {} if weights is None else figures.replicates(cell.index, weights, plain)
            values = {name: map_figure(points[name], cell, drawn.get(name), group.level) for name in plain}
            if source.metrics is None:
                result.paired[key] = Paired(points["conditioned_auroc"], drawn.get("conditioned_auroc"))
                values |= _ratio_values(parts, cell, weights, group.level)
                values["aupro_100"] = _coarse_aupro(maps[truth.positions], truth, cell, group)
                if froc is not None:
                    froc_values, curve = _froc_values(froc, key, truth, cell, group)
                    values |= froc_values
                    if curve is not None:
                        result.curves[key] = curve
            result.values[key] = {
                name: values.get(name, unscored(_absent(name, source, group), cell.n)) for name in METRICS
            }
    return result


def _absent(name: str, source: MapSource, group: Group) -> str:
    """Why a figure was not computed at all."""
    if source.metrics is not None:
        return _NOT_VALID
    return _NEEDS_OUTLINES if name.startswith("aupro") and not group.outlines else _NEEDS_NORMALS


def _ratio_values(
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]], cell: Cell, weights: np.ndarray | None, level: float
) -> dict[str, Value]:
    own = cell.index[None].astype(np.float64)
    return {
        name: map_figure(
            float(ratio(parts[name], own)[0]),
            cell,
            None if weights is None else ratio(parts[name], weights * cell.index),
            level,
        )
        for name in RATIOS
        if name in parts
    }


def _coarse_aupro(maps: np.ndarray, truth: Truth, cell: Cell, group: Group) -> Value:
    """AUPRO over 100 thresholds as published code computes it, for comparison; no interval."""
    if not group.outlines:
        return unscored(_NEEDS_OUTLINES, cell.n)
    value = aupro(maps[cell.index], truth.masks[cell.index], thresholds=100)
    return map_figure(value, cell, None)


def _froc_values(froc: Froc, key: str, truth: Truth, cell: Cell, group: Group) -> tuple[dict[str, Value], Curve | None]:
    """FROC of a cohort: its own normal images give the false positives, its own regions the sensitivity."""
    normal = group.normal_members[key]
    if not normal.any():
        return {name: unscored(_NEEDS_NORMALS, cell.n) for name in FROC}, None
    images = truth.positions[cell.index]
    own = froc.cohort(normal, images, group.regions.of_finding(truth.finding))
    points = own.sensitivity()
    curve: Curve = {"x": _listed(GRID), "y": _listed(points), "low": None, "high": None}
    replicates: dict[str, np.ndarray] = {}
    enough = no_interval_reason(group.normal_patients[normal], np.zeros(int(normal.sum())), classes=(0,)) is None
    if cell.has_interval() and enough:
        drawn = own.sensitivity(GRID, group.normal_weights[:, normal], group.weights[:, images])
        replicates = froc_figures(drawn)
        low, high = np.nanquantile(drawn, [(1 - group.level) / 2, (1 + group.level) / 2], axis=0)
        curve["low"], curve["high"] = _listed(low), _listed(high)
    values = {
        name: map_figure(float(value), cell, replicates.get(name), group.level)
        for name, value in froc_figures(points).items()
    }
    return values, curve


def _listed(values: np.ndarray) -> list[float]:
    return [rounded(value) for value in values]
