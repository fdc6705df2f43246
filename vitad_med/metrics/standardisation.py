"""Direct standardisation: the figure of a cohort if it had the mix of strata of all compared cohorts together.

Strata are joint cells, e.g. view x finding x third of the box area. Images of cohort c in stratum s get the weight
n(s) / n_c(s), pooled number over the cohort's own, so that the weighted cohort has the pooled mix (Rothman, Greenland
and Lash, Modern Epidemiology (2008), chapter 15). Only strata that every compared cohort has can be compared: images
elsewhere get weight 0, and the share of images that remain is the *support*.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError

# Cells of a block of replicates, float64.
_CELLS = 1 << 21


class Standardisation:
    """Weights that give each compared cohort the pooled mix of strata.

    For an image AUROC make the label part of the stratum, so that normal and abnormal images keep their own mixes; with
    weights that vary within a class the ratio of the classes does not matter.

    Args:
        strata: stratum of each image, [N], text or numbers.
        levels: compared cohort of each image, int [N]; images with a negative level take no part.

    Attributes:
        support: share of the images that take part which lie in strata common to all levels, in 0..1.
        common: bool [N], images in those strata.

    Raises:
        DataError: lengths differ, or there are fewer than two levels.
    """

    def __init__(self, strata: ArrayLike, levels: ArrayLike) -> None:
        given = np.asarray(strata).ravel()
        self.levels = np.asarray(levels).ravel().astype(np.int64)
        if len(given) != len(self.levels):
            raise DataError(f"{len(given)} strata for {len(self.levels)} images; give one stratum to each image.")
        taking_part = self.levels >= 0
        names = np.unique(self.levels[taking_part])
        if len(names) < 2:
            raise DataError(f"standardisation compares images at two levels or more, not at {len(names)}.")
        found, of_image = np.unique(given, return_inverse=True)
        has = np.stack([np.bincount(of_image[self.levels == name], minlength=len(found)) > 0 for name in names])
        self.common = np.logical_and.reduce(has)[of_image] & taking_part
        self.support = float(self.common.sum() / taking_part.sum())
        # Images of the common support, ordered by stratum, so that a stratum's sum is one reduction.
        self._used = np.flatnonzero(self.common)
        self._used = self._used[np.argsort(of_image[self._used], kind="stable")]
        ordered = of_image[self._used]
        self._first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))[: len(self._used)]
        self._size = np.diff(np.append(self._first, len(self._used)))

    def weights(self, cohort: ArrayLike, counts: ArrayLike | None = None) -> NDArray[np.float64]:
        """Weights of one cohort, for the sample or for a block of bootstrap replicates.

        In a replicate the mixes are those of the replicate; which strata are common is settled by the sample. A
        stratum that a replicate's cohort has lost drops out of that cohort's mix.

        Args:
            cohort: bool [N], e.g. ``levels == 0`` or its rest ``levels > 0``; what takes no part is left out.
            counts: bootstrap counts of the images, [N] or [B, N]; each once if omitted. The result is float64: pass
                few replicates at a time, or use :meth:`blocks`.

        Returns:
            float64 [N], or [B, N] for counts [B, N]; 0 outside the cohort and the common support. Multiply by nothing:
            the counts are in it.

        Raises:
            DataError: shapes do not fit.
        """
        inside = np.asarray(cohort).ravel()
        images = len(self.levels)
        if inside.dtype != np.bool_ or len(inside) != images:
            raise DataError(f"a cohort must be bool [{images}], not {inside.dtype} {list(inside.shape)}.")
        given = np.ones(images) if counts is None else np.asarray(counts)
        if given.ndim not in (1, 2) or given.shape[-1] != images:
            raise DataError(
                f"bootstrap counts {list(given.shape)} must have shape [{images}] or [replicates, {images}]."
            )
        block = np.atleast_2d(given)
        result = np.zeros(block.shape)
        if len(self._used):
            used = block[:, self._used].astype(np.float64)
            own = used * inside[self._used]
            pooled_sums = np.add.reduceat(used, self._first, axis=1)
            own_sums = np.add.reduceat(own, self._first, axis=1)
            ratio = np.divide(pooled_sums, own_sums, out=np.zeros_like(own_sums), where=own_sums > 0)
            result[:, self._used] = own * np.repeat(ratio, self._size, axis=1)
        return result if given.ndim == 2 else result[0]

    def blocks(self, cohort: ArrayLike, counts: NDArray[np.uint16]) -> Iterator[NDArray[np.float64]]:
        """Weights of all replicates, a few at a time.

        Args:
            cohort: bool [N].
            counts: bootstrap counts [R, N].

        Yields:
            float64 [B, N] of consecutive replicates, together all R.
        """
        rows = max(1, _CELLS // len(self.levels))
        for start in range(0, len(counts), rows):
            yield self.weights(cohort, counts[start : start + rows])
