"""What a pixel's score is: the map as it came, or the map times the score of its image.

Some maps sum to a constant, e.g. attention, and cannot say that an image as a whole is worse. Multiplying by the image
score puts that back. It changes every figure that compares pixels of different images, so a report names the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import ConfigError, DataError
from vitad_med.metrics.checks import as_scores, require_finite

PIXEL_SCORES = ("map", "map_times_image_score")
"""Names of the rules."""


class PixelScores(Sequence[NDArray[np.float32]]):
    """Maps of chosen images, read one at a time and as often as wanted, with the rule applied on reading.

    Args:
        read: gives the map [H, W] of an image by its number, e.g. ``predictions.map`` or ``stack.__getitem__``.
        images: numbers of the images, int [n], or bool [N] to choose them; the sequence has their order.
        scores: image scores [N], indexed by the same numbers; needed by ``map_times_image_score``.
        rule: one of :data:`PIXEL_SCORES`.

    Raises:
        ConfigError: no such rule.
        DataError: scores missing, NaN, infinite or negative. On reading: a map that is not [H, W], or under
            ``map_times_image_score`` one with negative or non-finite values or a product above float32.

    Example:
        >>> stack = np.ones((3, 2, 2), dtype=np.float32)
        >>> PixelScores(stack.__getitem__, [2], scores=[0.1, 0.2, 0.5], rule="map_times_image_score")[0].max()
        np.float32(0.5)
    """

    def __init__(
        self,
        read: Callable[[int], ArrayLike],
        images: ArrayLike,
        scores: ArrayLike | None = None,
        rule: str = "map",
    ) -> None:
        if rule not in PIXEL_SCORES:
            raise ConfigError(f"pixel_score {rule!r} does not exist; choose one of {', '.join(PIXEL_SCORES)}.")
        chosen = np.asarray(images)
        self.images = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64).ravel()
        self.rule = rule
        self._read = read
        self._scores: NDArray[np.float64] | None = None
        if rule == "map_times_image_score":
            if scores is None:
                raise DataError("pixel_score map_times_image_score needs the image scores; give scores.")
            self._scores = as_scores(scores, "image scores").astype(np.float64)
            negative = int(np.count_nonzero(self._scores < 0))
            if negative:
                raise DataError(
                    f"{negative} of {self._scores.size} image scores are negative and would turn their maps upside "
                    "down; use pixel_score map, or scores that start at 0."
                )
            if self.images.size and not 0 <= self.images.min() <= self.images.max() < self._scores.size:
                raise DataError(
                    f"image numbers reach {self.images.max()} but there are {self._scores.size} scores; "
                    "give one score to each image."
                )

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, position: int) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, position: slice) -> PixelScores: ...
    def __getitem__(self, position: int | slice) -> NDArray[np.float32] | PixelScores:
        if isinstance(position, slice):
            return PixelScores(self._read, self.images[position], self._scores, self.rule)
        image = int(self.images[position])
        values = np.asarray(self._read(image), dtype=np.float32)
        if values.ndim != 2:
            raise DataError(f"the map of image {image} has shape {list(values.shape)}; give one map [H, W].")
        return values if self._scores is None else scaled_map(values, self._scores[image], f"map of image {image}")


def scaled_map(values: NDArray, score: float, what: str = "map") -> NDArray[np.float32]:
    """Map times image score, float32; DataError for a negative or non-finite value or product."""
    require_finite(values, what)
    if values.size and values.min() < 0:
        raise DataError(
            f"{what}: values down to {values.min():g}; a higher image score would push negative values lower. "
            "Use pixel_score map, or maps that start at 0."
        )
    with np.errstate(over="ignore"):
        product = (values * np.float64(score)).astype(np.float32)
    require_finite(product, f"{what} times its image score")
    return product
