"""The torch dataset over cases: whole images, resized, never cropped."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.intensity import to_unit_range
from vitad_med.data.shifts import SHIFTS, check_shift
from vitad_med.data.shifts import shift as apply_shift

logger = logging.getLogger(__name__)


class CaseDataset(Dataset[dict[str, Any]]):
    """Images of `cases`, decoded once at construction (see `vitad_med.data.cache.resized_array`).

    An item is ``{"image": float32 tensor [channels, image_size, image_size] with values 0..1, "label": int, "index":
    int}``; `index` leads back to the record through `cases`.

    A shift (see `vitad_med.data.shifts`) changes what a network is given and nothing else: the cache, `pixels`, and all
    that reads the files itself, such as null maps of the pictures, overlays and stored pictures, stay unshifted.

    Attributes:
        cases: the records, in the order of the items.
        pixels: the stored integers, [N, channels, image_size, image_size], unshifted.
        shift: name of the shift that items have.

    Raises:
        ConfigError: unknown shift.
        DataError, StorageError: as `resized_array`.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        image_size: int,
        cache_dir: str | Path | None = None,
        channels: int = 1,
        shift: str = "none",
    ) -> None:
        check_shift(shift)
        self.shift = shift
        self.cases = tuple(cases)
        self.pixels = resized_array(self.cases, image_size, cache_dir, channels)
        if shift != "none":
            logger.info(
                "images are shifted, '%s' (%s); null maps, pictures and synthetic anomalies use the files as they are",
                shift,
                SHIFTS[shift],
            )

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = torch.from_numpy(apply_shift(to_unit_range(self.pixels[index]), self.shift))
        return {"image": image, "label": self.cases[index].label, "index": index}
