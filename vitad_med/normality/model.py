"""What a fitted model of normality is: features in, a distance for each cell out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from vitad_med.errors import ConfigError, DataError


class NormalityModel(nn.Module, ABC):
    """Distances of features from those of normal images. Its buffers are what was fitted.

    Args:
        grid: rows and columns of the features that it was fitted on.
        channels: D.
        scale: a distance that is usual for normal features; positive.
    """

    kind: ClassVar[str]

    def __init__(self, grid: tuple[int, int], channels: int, scale: float) -> None:
        super().__init__()
        self.grid, self.channels = grid, channels
        self.scale = scale

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides the distances beside the buffers, plain values by key."""

    @classmethod
    @abstractmethod
    def of_tensors(
        cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], grid: tuple[int, int], channels: int
    ) -> NormalityModel:
        """From a state dict and :attr:`settings`.

        Raises:
            DataError: they contradict each other.
        """

    def forward(self, features: Tensor) -> Tensor:
        """Distances [B, 1, h, w], at least 0 and unbounded, of features [B, D, h, w].

        Raises:
            ConfigError: another grid or number of channels than it was fitted on.
        """
        if (features.shape[1], *features.shape[2:]) != (self.channels, *self.grid):
            raise ConfigError(
                f"the features have {features.shape[1]} channels on {features.shape[2]} x {features.shape[3]} cells, "
                f"the model was fitted on {self.channels} on {self.grid[0]} x {self.grid[1]}: score with the extractor "
                "and image_size of the fit"
            )
        # Under autocast the products would be taken in 16 bits, where small distances drown.
        with torch.autocast(features.device.type, enabled=False):
            return self.distances(features)

    @abstractmethod
    def distances(self, features: Tensor) -> Tensor:
        """:meth:`forward` without its check."""


class NormalityFit(Protocol):
    """What collects the features of normal images, in one pass, and makes a :class:`NormalityModel` of them.

    Attributes:
        kind: of the model.
        settings: what decides the collection, plain values by key; sets with other settings cannot be merged.
        count: images so far.
    """

    kind: ClassVar[str]

    @property
    def settings(self) -> dict[str, Any]: ...

    @property
    def count(self) -> int: ...

    def update(self, features: Tensor, streams: Sequence[int]) -> None:
        """Add features [B, D, h, w] of images, whose random draws follow from ``streams`` alone, one number each."""

    def merge(self, other: Any) -> None:
        """Add the images of another collection with the same settings."""

    def tensors(self) -> dict[str, Tensor]:
        """What was collected, by name."""

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device | None = None) -> None:
        """Take up what :meth:`tensors` gave, for features on this device; None is where the tensors lie."""

    def finish(self) -> NormalityModel:
        """The model of everything that was collected."""


def usual_distance(squares: Tensor) -> float:
    """Root of the mean of squared distances; 1 where all are 0."""
    value = float(squares.double().mean().sqrt())
    return value if value > 0 else 1.0


def check_finite(features: Tensor) -> None:
    """Raise DataError for features with a value that is not finite."""
    # NaN and infinity survive a sum, which is forty times as fast as looking at each value.
    if not bool(features.sum().isfinite()):
        raise DataError("a feature is not finite: check the extractor's weights, or switch amp off")


def check_choice(key: str, value: float, lowest: float) -> None:
    """Raise ConfigError, naming the key, for a value below the lowest that makes sense."""
    if not value >= lowest or torch.tensor(float(value)).isinf():
        raise ConfigError(f"{key} is {value}: give a number of at least {lowest}")
