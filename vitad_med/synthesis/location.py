"""Location laws: where patches are cut and pasted (Bozorgtabar et al., BMVC 2022, section 3.1).

The paper takes the softmax of the CLS attention map, resizes it to the image and renormalises. Attention values are
about 1/N, so at temperature 1 that softmax is all but uniform (entropy over log N above .999) and guides nothing.
``proportional`` uses the attention itself as the law; ``uniform`` is the ablation. ``LocationLaw.entropy`` tells them
apart and travels in the info of every sample.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from vitad_med.errors import ConfigError, DataError

Location = Literal["proportional", "softmax", "uniform"]


class LocationLaw:
    """A probability over the pixels of an image, made from a coarse saliency map.

    The image-sized law is the bilinear resize (half-pixel centres, edges replicated, as ``torch.interpolate`` with
    ``align_corners=False``) of the law on the grid, renormalised. Resizing is separable, so a pixel is drawn exactly
    from its row marginal and its column conditional without the image-sized map ever being formed.

    Args:
        saliency: [h, w], finite; not negative for ``proportional``. None is allowed for ``uniform`` only.
        height, width: size of the image in pixels.
        location: ``proportional``, ``softmax`` or ``uniform``.
        temperature: divides the saliency before the softmax; 1 is the paper's literal reading.

    Raises:
        ConfigError: unknown ``location``, or a temperature that is not positive.
        DataError: a saliency map that cannot be made into a probability.
    """

    def __init__(
        self,
        saliency: np.ndarray | None,
        height: int,
        width: int,
        location: Location = "proportional",
        temperature: float = 1.0,
    ) -> None:
        self.height, self.width = height, width
        self.grid = _grid_law(saliency, location, temperature)
        rows, columns = self.grid.shape
        self._row_weights = bilinear_weights(rows, height)
        self._column_weights = bilinear_weights(columns, width)
        row_mass = self.grid @ self._column_weights.sum(axis=0)
        self._row_cdf = np.cumsum(self._row_weights @ row_mass)

    @property
    def entropy(self) -> float:
        """Entropy of the law on the saliency grid over log N: 1 is uniform, 0 is a single token."""
        if self.grid.size == 1:
            return 1.0
        p = self.grid[self.grid > 0]
        return float(-(p * np.log(p)).sum() / np.log(self.grid.size))

    def image_law(self) -> np.ndarray:
        """The law over pixels: float64 [height, width], sums to 1."""
        law = self._row_weights @ self.grid @ self._column_weights.T
        return law / law.sum()

    def pixel(self, row_uniform: float, column_uniform: float) -> tuple[int, int]:
        """The pixel (row, column) that two uniform numbers in [0, 1) select: inverse transform sampling."""
        row = _invert(self._row_cdf, row_uniform)
        column_cdf = np.cumsum(self._column_weights @ (self._row_weights[row] @ self.grid))
        return row, _invert(column_cdf, column_uniform)


def check_location(location: str, temperature: float) -> None:
    """Refuse an unknown law or a temperature that is not positive."""
    if location not in get_args(Location):
        raise ConfigError(f"location: {location!r} is not one of {', '.join(get_args(Location))}")
    if not temperature > 0:
        raise ConfigError(f"temperature: {temperature} must be above 0")


def _grid_law(saliency: np.ndarray | None, location: Location, temperature: float) -> np.ndarray:
    check_location(location, temperature)
    if location == "uniform":
        shape = (1, 1) if saliency is None else saliency.shape
        return np.full(shape, 1.0 / np.prod(shape))
    if saliency is None:
        raise DataError(f"location {location!r} needs a saliency map; give one, or use location: uniform")
    grid = np.asarray(saliency, dtype=np.float64)
    if grid.ndim != 2 or grid.size == 0:
        raise DataError(f"a saliency map has two axes [h, w]; this one has shape {grid.shape}")
    if not np.isfinite(grid).all():
        raise DataError("the saliency map holds NaN or infinity: look at the network that made it")
    if location == "softmax":
        grid = np.exp((grid - grid.max()) / temperature)
    elif grid.min() < 0:
        raise DataError("location 'proportional' needs a saliency map without negative values (resize it bilinearly)")
    total = grid.sum()
    if not total > 0:
        raise DataError("the saliency map is zero everywhere; use location: uniform")
    return grid / total


def _invert(cdf: np.ndarray, uniform: float) -> int:
    # Rounding may lift uniform * total to the total itself; the last entry with mass is then meant.
    return min(int(np.searchsorted(cdf, uniform * cdf[-1], side="right")), len(cdf) - 1)


@lru_cache(maxsize=64)
def bilinear_weights(inputs: int, outputs: int) -> np.ndarray:
    """Matrix [outputs, inputs] of one axis of a bilinear resize (half-pixel centres, no antialias)."""
    position = np.clip((np.arange(outputs) + 0.5) * inputs / outputs - 0.5, 0, inputs - 1)
    low = np.minimum(position.astype(np.intp), max(inputs - 2, 0))
    fraction = position - low
    weights = np.zeros((outputs, inputs))
    weights[np.arange(outputs), low] = 1 - fraction
    if inputs > 1:
        weights[np.arange(outputs), low + 1] += fraction
    weights.setflags(write=False)
    return weights
