"""From modality values to 0..1: VOI LUT, window or percentiles (PS3.3 C.11.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from vitad_med.errors import ConfigError, DataError

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]

FIRST, NONE, PERCENTILE = "first", "none", "percentile"
PERCENTILES = (0.5, 99.5)
"""Of the image's values, where a window of percentiles is asked for or the file has none of its own."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """A window of one image.

    Attributes:
        centre, width: in modality values; the width is above 0, for ``LINEAR`` at least 1.
        function: how values are brought to 0..1.
        name: its explanation in the file, or what it was made of.
    """

    centre: float
    width: float
    function: Function = "LINEAR"
    name: str = ""

    def __post_init__(self) -> None:
        least = 1 if self.function == "LINEAR" else 0
        if not (math.isfinite(self.centre) and math.isfinite(self.width)) or self.width < least or self.width == 0:
            raise DataError(f"window of centre {self.centre:g} and width {self.width:g} is none")

    def __call__(self, values: Values) -> Values:
        """PS3.3 C.11.2.1.2 and C.11.2.1.3, with an output of 0..1."""
        if self.function == "SIGMOID":
            # Beyond 700 the exponential overflows, and the result is 0 or 1 long before.
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.centre) / self.width, -700, 700)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.centre) / self.width + 0.5, 0, 1)
        if self.width == 1:
            return (values > self.centre - 0.5).astype(np.float64)
        return np.clip((values - (self.centre - 0.5)) / (self.width - 1) + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class Table:
    """A VOI LUT of one image.

    Attributes:
        first: the modality value of the first entry.
        entries: float64, 0..1.
        name: its explanation in the file.
    """

    first: int
    entries: Values
    name: str = ""

    def __call__(self, values: Values) -> Values:
        """Entries of the values; those below the first and above the last take the first and the last."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[index]


Voi = Window | Table


def choose(dataset: Dataset, window: str, values: Values, counts: NDArray[np.int64], full: tuple[float, float]) -> Voi:
    """The transformation of an image by the key ``window``.

    Args:
        dataset: the whole file.
        window: ``first`` the file's first VOI LUT, else its first window, else what a file without either gets: the
            full range of 8 stored bits, which were windowed before they were stored, and percentiles of more; ``none``
            the full range of the stored bits; ``percentile``; or the explanation of a LUT or window of the file.
        values: the modality values that occur, [V].
        counts: how often, [V].
        full: modality values of the least and the greatest number that the stored bits hold.

    Raises:
        ConfigError: the file has no LUT or window of that name.
        DataError: its window or LUT cannot be used.
    """
    voi = declared(dataset, window, full)
    return percentile_window(values, counts) if voi is None else voi


def declared(dataset: Dataset, window: str, full: tuple[float, float]) -> Voi | None:
    """As :func:`choose`, of the header alone; None where percentiles of the pixels are asked for."""
    if window == NONE:
        return _whole(full)
    if window == PERCENTILE:
        return None
    known: list[Voi] = [*_tables(dataset), *_windows(dataset)]
    if window == FIRST:
        if known:
            return known[0]
        return _whole(full) if int(dataset.BitsStored) <= 8 else None
    for voi in known:
        if voi.name == window:
            return voi
    raise ConfigError(f"window '{window}' is none of the {len(known)} of this file")


def _whole(full: tuple[float, float]) -> Window:
    return Window(sum(full) / 2, max(full) - min(full), "LINEAR_EXACT", "full range of the stored bits")


def percentile_window(values: Values, counts: NDArray[np.int64]) -> Window:
    """From the .5th to the 99.5th percentile of the values; an image of one value becomes .5.

    Args:
        values: [V].
        counts: how often each occurs, [V].
    """
    low, high = percentiles(values, counts, PERCENTILES)
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        high = low + 1
        low -= 1
    return Window((low + high) / 2, high - low, "LINEAR_EXACT", "percentiles .5 and 99.5")


def percentiles(values: Values, counts: NDArray[np.int64], shares: Sequence[float]) -> list[float]:
    """numpy's percentiles, interpolated linearly, of values that occur so often."""
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(counts[order])
    found = []
    for share in shares:
        place = share / 100 * (int(ends[-1]) - 1)
        at = int(place)
        low, high = (float(values[order[np.searchsorted(ends, k, "right")]]) for k in (at, min(at + 1, ends[-1] - 1)))
        found.append(low + (high - low) * (place - at))
    return found


def _tables(dataset: Dataset) -> list[Voi]:
    found: list[Voi] = []
    for item in dataset.get("VOILUTSequence") or []:
        try:
            count, first, bits = (int(value) for value in item.LUTDescriptor)
            raw = item["LUTData"].value
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError("its VOI LUT is incomplete") from error
        count = count or 2**16
        if isinstance(raw, bytes):
            order = ">" if not dataset.file_meta.TransferSyntaxUID.is_little_endian else "<"
            entries = np.frombuffer(raw, f"{order}u2") if len(raw) >= 2 * count else np.frombuffer(raw, np.uint8)
        else:
            entries = np.atleast_1d(np.asarray(raw, dtype=np.int64))
        if len(entries) < count or not 8 <= bits <= 16:
            raise DataError(f"its VOI LUT has {len(entries)} entries of {bits} bits where {count} are announced")
        name = str(item.get("LUTExplanation", ""))
        found.append(Table(_signed(first, dataset), np.clip(entries[:count] / (2**bits - 1), 0, 1), name))
    return found


def _windows(dataset: Dataset) -> list[Voi]:
    centres, widths, names = (
        _listed(dataset.get(key)) for key in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation")
    )
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise DataError("its VOI LUT function is unknown")
    try:
        return [
            Window(float(centre), float(width), function, str(names[number]) if number < len(names) else "")  # type: ignore[arg-type]
            for number, (centre, width) in enumerate(zip(centres, widths, strict=False))
        ]
    except (TypeError, ValueError) as error:
        raise DataError("its window is no pair of numbers") from error


def _signed(first: int, dataset: Dataset) -> int:
    """The first mapped value has the sign of the pixels, whatever representation it was written in."""
    wraps = int(dataset.get("PixelRepresentation", 0)) == 1 and first >= 2**15
    return first - 2**16 if wraps else first


def _listed(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, pydicom.multival.MultiValue | list | tuple) else [value]
