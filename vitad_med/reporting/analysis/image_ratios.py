"""Figures that are means over localized images: each image's own figure, weighted by a bootstrap replicate's counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vitad_med.evaluation.localization import MapFigures
from vitad_med.metrics.localization import image_aurocs
from vitad_med.metrics.overlap import overlaps
from vitad_med.metrics.pixel_threshold import RATES, PixelThreshold

IOU = tuple(f"iou_fpr{rate * 100:g}" for rate in RATES)
IOBB = tuple(f"iobb_fpr{rate * 100:g}" for rate in RATES)
RATIOS = ("mean_image_auroc", "aupro", *IOU, *IOBB)


def image_ratios(
    figures: MapFigures, thresholds: Sequence[PixelThreshold], outlines: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Numerator and denominator of each image, float64 [n] each; a cohort's figure is the ratio of the sums.

    Args:
        figures: maps, truth and ignored pixels of n images.
        thresholds: from normal images, at ``RATES``; empty where there are none.
        outlines: the truth is pixel-exact, so that AUPRO means something.
    """
    ratios = {"mean_image_auroc": _means(_image_aurocs(figures))}
    if outlines:
        ratios["aupro"] = figures.regions.areas, figures.regions.components.astype(np.float64)
    if thresholds:
        overlap = overlaps(_lowered(figures), figures.masks, [threshold.threshold for threshold in thresholds])
        for names, values in ((IOU, overlap.iou), (IOBB, overlap.iobb)):
            ratios |= {name: _means(row) for name, row in zip(names, values, strict=True)}
    return ratios


def ratio(parts: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Sum of numerators over sum of denominators for counts [R, n], float64 [R]; NaN where nothing is counted."""
    numerator, denominator = (weights @ part for part in parts)
    return np.divide(numerator, denominator, out=np.full(len(weights), np.nan), where=denominator > 0)


def _means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(values)
    return np.where(known, values, 0.0), known.astype(np.float64)


def _image_aurocs(figures: MapFigures) -> np.ndarray:
    if figures.ignore is None:
        return image_aurocs(figures.maps, figures.masks)
    values = [
        image_aurocs(image[~ignored][None], mask[~ignored][None])[0]
        for image, mask, ignored in zip(figures.maps, figures.masks, figures.ignore, strict=True)
    ]
    return np.array(values, dtype=np.float64)


def _lowered(figures: MapFigures) -> Iterator[np.ndarray]:
    """Maps in which an ignored pixel is below every other, so that no threshold marks it alone."""
    if figures.ignore is None:
        yield from figures.maps
        return
    for image, ignored in zip(figures.maps, figures.ignore, strict=True):
        yield np.where(ignored, np.finfo(np.float32).min, image)
