"""What every synthetic-anomaly scheme has in common: its results, its two paths, and how it is seeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

Seed = int | np.random.SeedSequence
Info = dict[str, Any]


@dataclass(frozen=True)
class SyntheticSample:
    """One synthetic anomaly.

    Attributes:
        image: float32 [C, H, W], values 0..1.
        mask: uint8 [H, W], 1 where the image is abnormal.
        label: image-level target; 1 for an anomaly, a fraction for schemes with soft labels.
        info: what was drawn and measured for this sample (sites, sizes, entropy of the location law, redraws).
    """

    image: np.ndarray
    mask: np.ndarray
    label: float
    info: Info


@dataclass(frozen=True)
class SyntheticBatch:
    """A batch of synthetic anomalies on the device of its source images.

    Attributes:
        images: [B, C, H, W] of the source's dtype, values 0..1.
        masks: uint8 [B, 1, H, W], 1 where the image is abnormal.
        labels: float32 [B].
        info: one ``SyntheticSample.info`` for each image.
    """

    images: torch.Tensor
    masks: torch.Tensor
    labels: torch.Tensor
    info: list[Info]


@runtime_checkable
class SyntheticScheme(Protocol):
    """A way to turn normal images into anomalies with a known mask.

    Both paths make the same anomaly from the same ``(seed, index)``: masks are identical, images agree to 1e-4. A
    scheme that needs other images (foreign patches, textures) is given their source when it is constructed.
    """

    @property
    def needs_saliency(self) -> bool:
        """Whether ``saliency`` must be given; False means None will do and no network has to run."""
        ...

    def sample(self, image: np.ndarray, saliency: np.ndarray | None, seed: Seed, *, index: int = 0) -> SyntheticSample:
        """Make one anomaly on the CPU from ``image`` [C, H, W] and its saliency [h, w]."""
        ...

    def batch(
        self,
        images: torch.Tensor,
        saliency: torch.Tensor | None,
        seed: Seed,
        *,
        indices: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
    ) -> SyntheticBatch:
        """Make one anomaly of each of ``images`` [B, C, H, W] on their device.

        Image k is seeded by ``indices[k]``, and errors call it ``names[k]``.
        """
        ...


def sample_generator(seed: Seed, index: int) -> np.random.Generator:
    """The random stream of one sample: independent of every other index, and of the batch that it is drawn in."""
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    stream = np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, index), pool_size=root.pool_size)
    return np.random.default_rng(stream)


def summarize_info(info: Sequence[Info]) -> dict[str, float]:
    """Means over samples of every number that a scheme's info holds (flags count as 0 or 1), for logs and trackers."""
    keys = [key for key, value in info[0].items() if isinstance(value, bool | int | float)] if info else []
    return {key: float(np.mean([sample[key] for sample in info])) for key in keys}
