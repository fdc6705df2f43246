"""Batches of whole training images, in an order that follows from the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from vitad_med.errors import DataError


class ImageArray(Dataset[dict[str, Any]]):
    """Images that were resized once (:func:`vitad_med.data.cache.resized_array`), as stored integers.

    Items are ``{"image": [C, S, S] uint8 or uint16}``; :func:`to_unit_range` turns a batch into floats on the device.
    With ``names`` an item also has its ``name``, by which errors call it.
    """

    def __init__(self, images: np.ndarray, names: Sequence[str] | None = None) -> None:
        if len(images) == 0:
            raise DataError("there are no training images: check dataset_dir and the cohort options")
        self.images = images
        self.names = names

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"image": torch.from_numpy(np.array(self.images[index]))}
        if self.names is not None:
            item["name"] = self.names[index]
        return item


def to_unit_range(images: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
    """Stored uint8 or uint16 [B, C, S, S] to float32 in 0..1 on ``device``."""
    full_range = {torch.uint8: 255.0, torch.uint16: 65535.0}[images.dtype]
    return images.to(device, non_blocking=non_blocking).to(torch.float32) / full_range


def train_loader(dataset: ImageArray, batch_size: int, seed: int, workers: int = 0) -> DataLoader[dict[str, Any]]:
    """Shuffled batches, the last incomplete one dropped unless it is the only one; shared out among processes.

    MONAI's workflows call ``set_epoch`` on a ``DistributedSampler``, which makes the order a function of (seed, epoch).
    """
    distributed = dist.is_available() and dist.is_initialized()
    sampler: DistributedSampler[dict[str, Any]] = DistributedSampler(
        dataset,
        num_replicas=dist.get_world_size() if distributed else 1,
        rank=dist.get_rank() if distributed else 0,
        shuffle=True,
        seed=seed,
        drop_last=False,
    )
    return DataLoader(
        dataset,
        batch_size=min(batch_size, len(sampler)),
        sampler=sampler,
        num_workers=workers,
        drop_last=True,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )
