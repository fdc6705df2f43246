"""Batches of whole images in the order of a list, decoded when they are due: memory does not grow with the list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.intensity import to_unit_range
from vitad_med.errors import ConfigError


class CaseStream:
    """One pass over the images of ``cases``.

    Args:
        cases: in the order of the batches.
        image_size: side in pixels.
        batch_size: images of a batch.
        channels: 1 or 3, see :func:`vitad_med.data.cache.resized_array`.
        cache_dir: folder that keeps the resized images from run to run; None decodes each image when it is due.

    Raises:
        ConfigError: a batch size below 1.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        image_size: int,
        batch_size: int = 16,
        channels: int = 1,
        cache_dir: str | Path | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}: give at least 1")
        self.cases = tuple(cases)
        self.image_size, self.batch_size, self.channels, self.cache_dir = image_size, batch_size, channels, cache_dir

    def __len__(self) -> int:
        """Batches."""
        return -(-len(self.cases) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All batches; see :meth:`starting_at`."""
        return self.starting_at(0)

    def starting_at(self, batch: int) -> Iterator[dict[str, Any]]:
        """Batches from a number on: ``image`` float32 [B, C, S, S] in 0..1 and ``index`` int64 [B] into ``cases``.

        Raises:
            DataError, StorageError: as :func:`vitad_med.data.cache.resized_array`.
        """
        kept = None
        if self.cache_dir is not None:
            kept = resized_array(self.cases, self.image_size, self.cache_dir, self.channels)
        for start in range(batch * self.batch_size, len(self.cases), self.batch_size):
            part = slice(start, min(start + self.batch_size, len(self.cases)))
            pixels = (
                resized_array(self.cases[part], self.image_size, None, self.channels) if kept is None else kept[part]
            )
            yield {"image": torch.from_numpy(to_unit_range(pixels)), "index": torch.arange(part.start, part.stop)}
