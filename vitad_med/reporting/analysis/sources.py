"""The maps that are compared: the method's own, and the null maps, on localized and on normal images alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vitad_med.evaluation import null_maps
from vitad_med.evaluation.null_figures import POOLED_METRICS
from vitad_med.metrics.conditioned import within_image_midranks
from vitad_med.metrics.pixel_score import PixelScores
from vitad_med.predictions.records import Predictions
from vitad_med.reporting.analysis.map_streams import Prefetched, Repeated

METHOD = "method"


@dataclass(frozen=True)
class MapSource:
    """One kind of map.

    Attributes:
        name: ``method`` or a name of :data:`vitad_med.evaluation.null_maps.MAPS`.
        stack: makes the maps of the L localized images, float32 [L, S, S].
        normal: the maps [S, S] of the normal images, read one at a time; empty where the map says nothing there.
        ranked: the maps are their own within-image ranks.
        metrics: the only figures that mean anything for it, or None for all.
    """

    name: str
    stack: Callable[[], np.ndarray]
    normal: Sequence[np.ndarray]
    ranked: bool = False
    metrics: tuple[str, ...] | None = None


def method_source(predictions: Predictions, localized: np.ndarray, normal: np.ndarray, pixel_score: str) -> MapSource:
    """The method's own maps, by the rule ``pixel_score``.

    Args:
        localized: int [L], numbers of the localized images.
        normal: int [M], numbers of the normal images that have a map.
    """

    def maps(images: np.ndarray) -> PixelScores:
        return PixelScores(predictions.map, images, predictions.scores, pixel_score)

    return MapSource(METHOD, lambda: _stacked(maps(localized), predictions.eval_size), Prefetched(maps(normal)))


def null_sources(
    predictions: Predictions,
    localized: np.ndarray,
    normal: np.ndarray,
    masks: np.ndarray,
    images: np.ndarray | None,
) -> list[MapSource]:
    """The null maps; those made of the image are left out where ``images`` is None.

    Args:
        localized: int [L].
        normal: int [M], numbers of the normal images that have an image.
        masks: bool [L, S, S], the whole truth.
        images: float32 [L, S, S], the localized images.
    """
    size = predictions.eval_size
    blob = null_maps.centre_blob(1, size)[0]
    patients = [predictions.cases[i].patient_id for i in localized]
    sources = [MapSource("centre_blob", lambda: null_maps.centre_blob(len(masks), size), Repeated(blob, len(normal)))]
    if len(set(patients)) > 1:
        sources.append(MapSource("box_prior", lambda: null_maps.box_prior(masks, patients), (), metrics=POOLED_METRICS))
    if images is None:
        return sources

    def made(read: Callable[[np.ndarray], np.ndarray]) -> Sequence[np.ndarray]:
        return Prefetched(PixelScores(lambda number: read(predictions.image(number)[None])[0], normal))

    return [
        *sources,
        MapSource("brightness", lambda: images, made(null_maps.brightness)),
        MapSource(
            "brightness_ranked",
            lambda: null_maps.brightness_ranked(images),
            made(null_maps.brightness_ranked),
            ranked=True,
        ),
        MapSource("mirror_difference", lambda: null_maps.mirror_difference(images), made(null_maps.mirror_difference)),
    ]


def ranks_of(source: MapSource, maps: np.ndarray) -> np.ndarray:
    """Within-image mid-ranks of a source's maps [L, S, S]; the maps themselves where they are ranks already."""
    if source.ranked:
        return maps
    if source.name == "centre_blob" and len(maps):
        return np.broadcast_to(within_image_midranks(maps[:1]), maps.shape)
    return within_image_midranks(maps)


def _stacked(maps: Sequence[np.ndarray], size: int) -> np.ndarray:
    stack = np.empty((len(maps), size, size), dtype=np.float32)
    for row, values in enumerate(maps):
        stack[row] = values
    return stack
