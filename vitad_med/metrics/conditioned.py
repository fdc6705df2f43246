"""AUROC among values at one grid position: what a map knows beyond where abnormalities usually are.

At position p the positives are the images whose truth covers p and the negatives are the other localized images of the
cohort. U(p) is the Mann-Whitney count of the map values at p, ties one half, and the figure is
sum_p U(p) / sum_p n1(p) n0(p). On raw maps this is the *position AUROC*: a map that ignores the image scores exactly
0.5. On within-image mid-ranks it is the *conditioned AUROC*: maps constant within an image score exactly 0.5 too.

Sums over positions of pairwise comparisons are kept as matrices over pairs of images, so that a cohort is a submatrix
and a bootstrap replicate with weights w is w' K w / w' D w.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_maps, as_numpy, as_result, as_weights, require_finite

# Two comparisons of 127 rows add up to at most 254, which a byte holds.
_ROWS = 127
_TILES = 2
_POSITIONS = 4096
# Each holds two matrices over pairs of images.
_THREADS = 4


def within_image_midranks(
    maps: ArrayLike | torch.Tensor, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Replace each map by its mid-ranks among the pixels of the same image.

    Args:
        maps: real array [N, H, W] (or [N, P]), finite.
        out: float32 array of the same shape to write into, e.g. a memory-mapped file.

    Returns:
        float32 array of the same shape with values 1..H*W; ties share the mean of their ranks, a whole or half number
        that float32 holds exactly.

    Raises:
        DataError: a value is not finite, or a map has more than 2**23 pixels.
    """
    m = as_numpy(maps)
    pixels = int(np.prod(m.shape[1:]))
    if pixels > 1 << 23:
        raise DataError(f"maps of {pixels} pixels are too large for exact float32 ranks; resize them below {1 << 23}.")
    ranks = np.empty(m.shape, dtype=np.float32) if out is None else out
    new = np.empty(pixels, dtype=np.bool_)
    for number, image in enumerate(m):
        values = np.asarray(image).ravel()
        require_finite(values, f"map {number}")
        order = np.argsort(values)
        ordered = values[order]
        new[:1] = True
        np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
        first = np.flatnonzero(new)
        size = np.diff(np.append(first, pixels))
        flat = np.empty(pixels, dtype=np.float32)
        flat[order] = np.repeat((first + (size + 1) / 2).astype(np.float32), size)
        ranks[number] = flat.reshape(image.shape)
    return ranks


@dataclass(frozen=True)
class PairMatrices:
    """Sums over grid positions of comparisons between pairs of images.

    Attributes:
        K: float64 [N, N]; K[i, j] = sum_p pos_i(p) neg_j(p) (1[m_i(p) > m_j(p)] + 1[m_i(p) = m_j(p)] / 2).
        D: float64 [N, N]; D[i, j] = sum_p pos_i(p) neg_j(p).
    """

    K: NDArray[np.float64]
    D: NDArray[np.float64]

    @classmethod
    def build(
        cls,
        maps: ArrayLike | torch.Tensor,
        masks: ArrayLike | torch.Tensor,
        ignore: ArrayLike | torch.Tensor | None = None,
        positions: int = _POSITIONS,
    ) -> PairMatrices:
        """Compare every image's positives with the other images' negatives at the same positions.

        Args:
            maps: real array [N, H, W], finite; float32 and float64 are compared as they are. May be memory-mapped.
            masks: bool or 0/1 array [N, H, W], the truth.
            ignore: bool or 0/1 array [N, H, W]; there an image is neither positive nor negative, e.g. inside boxes of
                other findings.
            positions: grid positions held in memory at once by each of torch's threads (at most 4); a block needs
                about 10 N positions bytes.

        Raises:
            DataError: shapes differ, masks are not binary, or a map value is not finite.
        """
        m, truth = as_maps(maps, masks)
        left_out = None if ignore is None else as_maps(maps, ignore)[1]
        # One map repeated for every image ties everywhere.
        same = len(m) > 1 and m.strides[0] == 0

        def compare(starts: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            wins = np.zeros((len(m), len(m)), dtype=np.int64)
            pairs = np.zeros((len(m), len(m)), dtype=np.float64)
            for start in starts:
                block = slice(start, start + positions)
                values = np.ascontiguousarray(m[:, block].T)
                require_finite(values, "maps")
                # Whole-number maps would have no value above all others to mark positives with.
                values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
                positive = np.ascontiguousarray(truth[:, block].T)
                negative = ~positive
                if left_out is not None:
                    kept = ~left_out[:, block].T
                    positive, negative = positive & kept, negative & kept
                used = positive.any(axis=1)
                if used.any() and same:
                    pairs += positive.T.astype(np.float32) @ negative.astype(np.float32)
                elif used.any():
                    _add_block(values[used], positive[used], negative[used], wins, pairs)
            return wins, pairs

        # Comparisons of large arrays leave Python's lock, so threads share the blocks. Sums of whole numbers do not
        # depend on their order.
        starts = range(0, m.shape[1], positions)
        workers = max(1, min(_THREADS, len(starts), torch.get_num_threads()))
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(compare, [starts[number::workers] for number in range(workers)]))
        wins, pairs = parts[0]
        for more_wins, more_pairs in parts[1:]:
            wins += more_wins
            pairs += more_pairs
        return cls(pairs / 2 if same else wins / 2, pairs)

    def auroc(
        self,
        weights: ArrayLike | None = None,
        index: ArrayLike | None = None,
        positives: ArrayLike | None = None,
    ) -> float | NDArray[np.float64]:
        """AUROC of a cohort, or of weighted replicates of it: w' K w / w' D w.

        Args:
            weights: how often each of the N images occurs, [N] or [R, N]; each once if omitted.
            index: the cohort's images, as positions or as a bool array [N]; all if omitted.
            positives: bool [N], the images whose truth counts; the others of the cohort are compared with only. All if
                omitted. It divides the figure by what the truth is like, e.g. the size of the box.

        Returns:
            A float, or float64 [R] for weights [R, N]; NaN where no pair exists.
        """
        chosen = np.arange(len(self.K)) if index is None else np.arange(len(self.K))[np.asarray(index)]
        k, d = self.K[np.ix_(chosen, chosen)], self.D[np.ix_(chosen, chosen)]
        w = np.ones((1, len(chosen))) if weights is None else as_weights(weights, len(self.K))[:, chosen]
        rows = w if positives is None else w * np.asarray(positives, dtype=np.float64)[chosen]
        numerator = np.einsum("rj,rj->r", rows @ k, w)
        denominator = np.einsum("rj,rj->r", rows @ d, w)
        values = np.divide(numerator, denominator, out=np.full(len(w), np.nan), where=denominator > 0)
        return as_result(values, weights)


def position_auroc(maps: ArrayLike | torch.Tensor, masks: ArrayLike | torch.Tensor) -> float:
    """AUROC of raw map values at the same position; see :meth:`PairMatrices.build` for arguments and errors."""
    return float(PairMatrices.build(maps, masks).auroc())


def conditioned_auroc(maps: ArrayLike | torch.Tensor, masks: ArrayLike | torch.Tensor) -> float:
    """AUROC of within-image mid-ranks at the same position; see :meth:`PairMatrices.build`."""
    return float(PairMatrices.build(within_image_midranks(maps), masks).auroc())


def _add_block(
    values: NDArray,
    positive: NDArray[np.bool_],
    negative: NDArray[np.bool_],
    wins: NDArray[np.int64],
    pairs: NDArray[np.float64],
) -> None:
    """Add the comparisons at a block of positions [B, N] to twice-K and to D."""
    # Counts stay below 2**24 within a block, so the float32 product is exact.
    pairs += positive.T.astype(np.float32) @ negative.astype(np.float32)
    # No finite value exceeds or equals infinity: what is not a negative never counts.
    rivals = np.where(negative, values, np.array(np.inf, dtype=values.dtype))
    rows = _ROWS * _TILES
    above = np.empty((rows, values.shape[1]), dtype=np.bool_)
    not_below = np.empty_like(above)
    for image in np.flatnonzero(positive.any(axis=0)):
        where = np.flatnonzero(positive[:, image])
        own = values[where, image][:, None]
        for start in range(0, len(where), rows):
            others = rivals[where[start : start + rows]]
            mine = own[start : start + rows]
            size = len(mine)
            np.less(others, mine, out=above[:size])
            np.less_equal(others, mine, out=not_below[:size])
            doubled = np.add(above[:size].view(np.uint8), not_below[:size].view(np.uint8))
            for tile in range(0, size, _ROWS):
                wins[image] += np.add.reduce(doubled[tile : tile + _ROWS], axis=0, dtype=np.uint8)
