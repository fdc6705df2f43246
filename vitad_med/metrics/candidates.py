"""Candidates of a free-response analysis: places that a map calls suspicious, each with one score and one location.

A candidate is a connected component of {map >= t}, diagonal neighbours joined; its score is its highest value and its
location the pixel with that value. If several pixels of a component tie for it, each is the location with equal
chance, and whether the candidate hits a region is a probability: the share of the tied pixels that lie in the region.
That treats ties as the pointing game does, depends on no reading order, and gives flat or saturated maps no advantage:
a candidate that covers the image hits a region with the chance that the region's share of the image is.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from vitad_med.errors import DataError
from vitad_med.metrics.checks import require_finite
from vitad_med.metrics.regions import NEIGHBOURS


def find_false_positives(
    maps: Iterable[ArrayLike], threshold: float, lowest: float
) -> tuple[NDArray[np.int32], NDArray, NDArray[np.int32]]:
    """Candidates of normal images, all of which are false positives.

    Args:
        maps: N real arrays [H, W], finite; read once.
        threshold: candidates are components of {map >= threshold}.
        lowest: candidates with a lower score are counted and their scores dropped.

    Returns:
        Number of candidates of each image [N]; scores [M] in the maps' type, and the image of each [M].

    Raises:
        DataError: a map that is not [H, W] or not finite, or a threshold of NaN with any map.
    """
    counts: list[int] = []
    kept: list[NDArray] = []
    scores: NDArray = np.zeros(0)
    before: ArrayLike | None = None
    for number, image in enumerate(maps):
        if np.isnan(threshold):
            raise DataError("the candidate threshold is NaN; set it on the normal images (pixel_thresholds).")
        # One map repeated for every image is searched once.
        if image is not before:
            scores = _components(_map(image, f"normal map {number}"), threshold)[0]
            before = image
        counts.append(len(scores))
        kept.append(scores[scores >= lowest])
    image_of = np.repeat(np.arange(len(kept), dtype=np.int32), [len(scores) for scores in kept])
    return np.array(counts, dtype=np.int32), _joined(kept), image_of


def find_regions(
    maps: Iterable[ArrayLike], regions: Iterable[ArrayLike], threshold: float
) -> tuple[NDArray[np.int32], NDArray, NDArray[np.int32], NDArray[np.float64]]:
    """:func:`region_events` of many images, their regions numbered through.

    Returns:
        Number of regions of each image [N]; scores, region numbers and probabilities of all events, each [E].

    Raises:
        DataError: a map that is not [H, W] or not finite, regions that do not fit it, or numbers that differ.
    """
    counts: list[int] = []
    events: list[tuple[NDArray, NDArray, NDArray]] = []
    seen = 0
    for number, (image, truth) in enumerate(zip_longest(maps, regions)):
        if image is None or truth is None:
            lacking = "map" if image is None else "list of regions"
            raise DataError(f"abnormal image {number} has no {lacking}; give as many maps as lists of regions.")
        values = _map(image, f"abnormal map {number}")
        try:
            scores, region, share = region_events(values, threshold, truth)
        except DataError as error:
            raise DataError(f"abnormal map {number}: {error}") from error
        events.append((scores, region + seen, share))
        counts.append(len(np.asarray(truth)))
        seen += counts[-1]
    scores, region, share = (_joined([event[part] for event in events]) for part in range(3))
    return np.array(counts, dtype=np.int32), scores, region.astype(np.int32), share.astype(np.float64)


def region_events(image: NDArray, threshold: float, regions: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """At which scores the regions of an image are found, as the candidate threshold falls.

    With candidates in order of falling score and hit probabilities h_1, h_2, ... of a region, candidate j is the first
    to find it with probability h_j (1 - h_1) ... (1 - h_{j-1}). Without ties that is 1 for the highest candidate
    located in the region and 0 for the others.

    Args:
        image: real array [H, W].
        threshold: candidates are components of {image >= threshold}.
        regions: truth regions, which may overlap: int [K, 4] of half-open rectangles (y0, y1, x0, x1), or bool
            [K, H, W].

    Returns:
        Scores [E], region numbers int [E] and probabilities float64 [E] > 0 of the events; the probabilities of one
        region add up to at most 1.

    Raises:
        DataError: regions of another shape, or one that marks no pixel of the map.
    """
    truth = as_regions(regions, image.shape)
    scores, pixels, owners = _components(image, threshold)
    if not (len(scores) and len(truth)):
        return scores[:0], np.zeros(0, dtype=np.int64), np.zeros(0)
    values = image.ravel()[pixels]
    tied = values == scores[owners]
    pixels, owners = pixels[tied], owners[tied]
    if truth.ndim == 3:
        inside = truth.reshape(len(truth), -1)[:, pixels]
    else:
        rows, columns = np.divmod(pixels, image.shape[1])
        y0, y1, x0, x1 = truth.T[:, :, None]
        inside = (rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)
    ties = np.bincount(owners, minlength=len(scores))
    hits = np.stack([np.bincount(owners, weights=row, minlength=len(scores)) / ties for row in inside])
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    missed = np.cumprod(1 - hits[:, order], axis=1)
    first = hits[:, order] * np.concatenate((np.ones((len(hits), 1)), missed[:, :-1]), axis=1)
    region, candidate = np.nonzero(first > 0)
    return scores[order][candidate], region, first[region, candidate]


def as_regions(regions: ArrayLike, shape: tuple[int, ...]) -> NDArray:
    """Regions as int64 [K, 4] or bool [K, H, W], checked against the shape of their map."""
    array = np.asarray(regions)
    if not array.size and array.ndim <= 2:
        return np.zeros((0, 4), dtype=np.int64)
    if array.ndim == 3 and array.shape[1:] == shape:
        if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
            raise DataError("region masks hold values other than 0 and 1; give one mask a region.")
        masks = array.astype(np.bool_)
        if not masks.any(axis=(1, 2)).all():
            raise DataError(f"region {int(np.argmin(masks.any(axis=(1, 2))))} marks no pixel; leave it out.")
        return masks
    if array.ndim != 2 or array.shape[1] != 4 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"regions of shape {list(array.shape)} and type {array.dtype} for a map {list(shape)}: give whole numbers "
            "(y0, y1, x0, x1), one row a region, or masks [K, H, W]."
        )
    y0, y1, x0, x1 = array.T
    bad = np.flatnonzero(~((y0 >= 0) & (y0 < y1) & (y1 <= shape[0]) & (x0 >= 0) & (x0 < x1) & (x1 <= shape[1])))
    if bad.size:
        raise DataError(
            f"region {bad[0]}, (y0, y1, x0, x1) = {tuple(int(v) for v in array[bad[0]])}, is empty or leaves the map "
            f"{list(shape)}; cut it to the grid or leave it out."
        )
    return array.astype(np.int64)


def _components(image: NDArray, threshold: float) -> tuple[NDArray, NDArray[np.int64], NDArray[np.int64]]:
    """Highest value of each component [C]; flat positions of the marked pixels, and the component that owns each."""
    labels, number = ndimage.label(image >= threshold, structure=NEIGHBOURS)
    flat = labels.ravel()
    pixels = np.flatnonzero(flat)
    owners = flat[pixels].astype(np.int64) - 1
    values = image.ravel()[pixels]
    scores = np.zeros(number, dtype=image.dtype)
    scores[owners] = values  # any member, as the start of the search
    np.maximum.at(scores, owners, values)
    return scores, pixels, owners


def _map(image: ArrayLike, what: str) -> NDArray:
    values = np.asarray(image)
    if values.ndim != 2:
        raise DataError(f"{what} {list(values.shape)} must have shape [H, W].")
    require_finite(values, what)
    return values


def _joined(parts: list[NDArray]) -> NDArray:
    return np.concatenate(parts) if parts else np.zeros(0)
