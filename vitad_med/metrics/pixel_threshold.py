"""Thresholds of map values from normal images alone, at stated pixel false-positive rates.

The threshold at rate r is the lowest value t that occurs on normal images such that at most the share r of all their
pixels has a value of t or more. It is an exact quantile, found in two passes over the maps and a few megabytes:
float32 values, read as integers in their own order, are counted by their upper 16 bits; then the lower 16 bits are
counted where the quantile lies. No range has to be declared and no histogram bin blurs the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError
from vitad_med.metrics.checks import require_finite

RATES = (0.01, 0.05, 0.10)
"""Pixel false-positive rates at which overlap is reported; FROC candidates use the last."""

_LEVELS = 1 << 16
_SIGN = np.uint32(1 << 31)
# A count returns a table of all levels, so several maps are counted at once.
_RUN = 1 << 18


@dataclass(frozen=True)
class PixelThreshold:
    """A threshold of map values.

    Attributes:
        rate: stated pixel false-positive rate.
        threshold: pixels with a value of at least this are marked; NaN when there are no normal pixels.
        achieved: share of normal pixels that it marks, never above ``rate``. Exact for maps that float32 holds exactly;
            other values are rounded to float32 for counting, and then it is an upper bound.
        reason: why the threshold marks no normal pixel or does not exist, else None.
    """

    rate: float
    threshold: float
    achieved: float
    reason: str | None = None


def pixel_thresholds(maps: Iterable[ArrayLike], rates: Sequence[float] = RATES) -> tuple[PixelThreshold, ...]:
    """Thresholds at which a share of at most ``rate`` of all pixels of normal images is marked.

    Pixels tied at a threshold are marked together, so a value that too many pixels share is left out as a whole. If
    more pixels than ``rate`` share the highest value, e.g. on constant maps, no value that occurs will do: the
    threshold is the next float32 above that value, the achieved rate is 0, and ``reason`` says so.

    Args:
        maps: maps of the normal images, real arrays of any shape; read twice, one at a time.
        rates: each in (0, 1).

    Returns:
        One threshold for each rate, in their order.

    Raises:
        DataError: a rate out of range, a NaN or infinite map value, or maps that cannot be read twice with the same
            result (a generator is used up by the first reading).
    """
    for rate in rates:
        if not 0 < rate < 1:
            raise DataError(f"pixel false-positive rate {rate} must lie between 0 and 1, e.g. 0.1.")
    if iter(maps) is maps:
        raise DataError("maps are read twice; give a list or another sequence in place of an iterator.")
    upper = np.zeros(_LEVELS, dtype=np.int64)
    for keys in _keys(maps):
        upper += np.bincount(keys >> 16, minlength=_LEVELS)
    total = int(upper.sum())
    if not total:
        return tuple(PixelThreshold(rate, np.nan, np.nan, "no normal images") for rate in rates)
    # at_least[b]: pixels in level b or above; the last entry is none.
    at_least = np.append(np.cumsum(upper[::-1])[::-1], 0)
    allowed = [int(np.floor(rate * total * (1 + 1e-12))) for rate in rates]
    # The level in which the allowed number is passed, and the next one above it that holds any pixel.
    crossed = [int(np.flatnonzero(at_least > number)[-1]) for number in allowed]
    occupied = np.flatnonzero(upper)
    above = [int(occupied[occupied > level][0]) if (occupied > level).any() else level for level in crossed]
    lower = _count_lower(maps, upper, sorted({*crossed, *above}))
    return tuple(
        _pick(rate, number, total, [(level, at_least[level + 1], lower[level]) for level in dict.fromkeys(levels)])
        for rate, number, levels in zip(rates, allowed, zip(crossed, above, strict=True), strict=True)
    )


def _pick(
    rate: float, allowed: int, total: int, levels: Sequence[tuple[int, np.int64, NDArray[np.int64]]]
) -> PixelThreshold:
    """The lowest occurring value with at most ``allowed`` pixels at or above it, from one or two neighbouring levels.

    Each level comes with the number of pixels above it and the counts of its lower bits.
    """
    for level, beyond, counts in levels:
        reached = beyond + np.cumsum(counts[::-1])[::-1]
        fits = np.flatnonzero((counts > 0) & (reached <= allowed))
        if fits.size:
            value = _value(level, int(fits[0]))
            return PixelThreshold(rate, float(value), int(reached[fits[0]]) / total)
    level, _, counts = levels[-1]
    highest = _value(level, int(np.flatnonzero(counts)[-1]))
    return PixelThreshold(
        rate,
        float(np.nextafter(highest, np.float32(np.inf))),
        0.0,
        f"more than {rate:.3g} of the normal pixels share the highest value, {highest:g}; the threshold lies above it",
    )


def _keys(maps: Iterable[ArrayLike]) -> Iterator[NDArray[np.uint32]]:
    """Values of many maps at once as uint32 that sort like the float32 values."""
    held: list[NDArray[np.float32]] = []
    size = 0
    for number, image in enumerate(maps):
        values = np.asarray(image).ravel()
        require_finite(values, f"map {number}")
        with np.errstate(over="ignore"):
            # Adding zero makes a negative zero positive, so that both are one value.
            held.append(values.astype(np.float32) + np.float32(0))
        size += values.size
        if size >= _RUN:
            yield _ordered(held)
            held, size = [], 0
    if held:
        yield _ordered(held)


def _ordered(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.uint32]:
    bits = np.concatenate(parts).view(np.uint32)
    # The bits of positive floats sort like integers; those of negative floats sort backwards, below them.
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _value(level: int, rest: int) -> np.float32:
    key = np.uint32(level << 16 | rest)
    bits = key ^ _SIGN if key & _SIGN else ~key
    return np.array([bits], dtype=np.uint32).view(np.float32)[0]


def _count_lower(
    maps: Iterable[ArrayLike], upper: NDArray[np.int64], levels: Sequence[int]
) -> dict[int, NDArray[np.int64]]:
    """Second pass: counts of the lower 16 bits within each of the given levels of the upper 16."""
    slot = np.full(_LEVELS, -1, dtype=np.int8)
    slot[levels] = np.arange(len(levels))
    counts = np.zeros((len(levels), _LEVELS), dtype=np.int64)
    for keys in _keys(maps):
        place = slot[keys >> 16]
        chosen = place >= 0
        cells = place[chosen].astype(np.int64) * _LEVELS + (keys[chosen] & np.uint32(_LEVELS - 1))
        counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    if not np.array_equal(counts.sum(axis=1), upper[levels]):
        raise DataError("the maps changed between two readings; give maps that stay as they are.")
    return dict(zip(levels, counts, strict=True))
