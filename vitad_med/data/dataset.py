"""The torch dataset over cases: whole images, resized, never cropped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.intensity import to_unit_range


class CaseDataset(Dataset[dict[str, Any]]):
    """Images of `cases`, decoded once at construction (see `vitad_med.data.cache.resized_array`).

    An item is ``{"image": float32 tensor [channels, image_size, image_size] with values 0..1, "label": int, "index":
    int}``; `index` leads back to the record through `cases`.

    Attributes:
        cases: the records, in the order of the items.
        pixels: the stored integers, [N, channels, image_size, image_size].

    Raises:
        DataError, StorageError: as `resized_array`.
    """

    def __init__(
        self, cases: Sequence[Case], image_size: int, cache_dir: str | Path | None = None, channels: int = 1
    ) -> None:
        self.cases = tuple(cases)
        self.pixels = resized_array(self.cases, image_size, cache_dir, channels)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = torch.from_numpy(to_unit_range(self.pixels[index]))
        return {"image": image, "label": self.cases[index].label, "index": index}
