"""Distance to the nearest training features at the same position and next to it (SPADE, Cohen and Hoshen 2020, cut down
to where the anatomy is the same)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitad_med.errors import DataError
from vitad_med.normality.model import NormalityModel, check_choice, check_finite, usual_distance
from vitad_med.normality.nearest import nearest_squared, squared_norms
from vitad_med.normality.tiles import chunks

logger = logging.getLogger(__name__)


class PositionNeighbours(NormalityModel):
    """Mean distance to the k nearest of all training features within ``radius`` cells.

    Args:
        bank: features of the training images, [P, N, D].
        origin: [D], what was subtracted from them.
        grid: rows and columns, P = rows * columns.
        k: neighbours; where there are fewer features, all of them.
        radius: 0 is the same position alone, 1 adds the eight around it.
    """

    kind: ClassVar[str] = "knn"
    bank: Tensor
    origin: Tensor
    norms: Tensor

    def __init__(self, bank: Tensor, origin: Tensor, grid: tuple[int, int], k: int, radius: int, scale: float) -> None:
        super().__init__(grid, bank.shape[2], scale)
        self.k, self.radius = k, radius
        self.register_buffer("bank", bank)
        self.register_buffer("origin", origin)
        self.register_buffer("norms", squared_norms(bank), persistent=False)

    @property
    def settings(self) -> dict[str, Any]:
        """``k``, ``radius`` and ``scale``."""
        return {"k": self.k, "radius": self.radius, "scale": self.scale}

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], grid: tuple[int, int], channels: int
    ) -> PositionNeighbours:
        """See :meth:`NormalityModel.of_tensors`."""
        bank, origin = tensors.get("bank"), tensors.get("origin")
        positions = grid[0] * grid[1]
        if bank is None or origin is None or bank.ndim != 3 or (len(bank), bank.shape[2]) != (positions, channels):
            raise DataError(f"'bank' is missing or not of {positions} positions and {channels} channels")
        return cls(bank, origin, grid, int(settings["k"]), int(settings["radius"]), float(settings["scale"]))

    def distances(self, features: Tensor) -> Tensor:
        """[B, 1, h, w] of features [B, D, h, w]."""
        batch = len(features)
        rows, columns = self.grid
        query = (features.float().permute(2, 3, 0, 1) - self.origin).reshape(rows, columns, batch, self.channels)
        images = self.bank.shape[1]
        bank = self.bank.reshape(rows, columns, images, self.channels)
        norms = self.norms.reshape(rows, columns, images)
        k = min(self.k, images)
        # The cells at the border have fewer neighbours: infinity stands where there are none.
        offsets = list(product(range(-self.radius, self.radius + 1), repeat=2))
        best = query.new_full((rows, columns, batch, k * len(offsets)), torch.inf)
        for number, (down, right) in enumerate(offsets):
            here, there = _overlap(rows, down), _overlap(rows, -down)
            left, beside = _overlap(columns, right), _overlap(columns, -right)
            width = left.stop - left.start
            for part in chunks(here.stop - here.start, width * batch * images * 8):
                own = slice(here.start + part.start, here.start + part.stop)
                other = slice(there.start + part.start, there.start + part.stop)
                best[own, left, :, number * k : (number + 1) * k] = nearest_squared(
                    query[own, left], bank[other, beside], norms[other, beside], k
                )
        wanted = min(self.k, best.shape[-1])
        nearest = best.topk(wanted, largest=False).values
        present = nearest.isfinite()
        total = torch.where(present, nearest, nearest.new_zeros(())).sqrt().sum(dim=-1)
        return (total / present.sum(dim=-1)).permute(2, 0, 1)[:, None]


class NeighbourFit:
    """Keeps every training feature; memory grows with the images.

    Args:
        k, radius: see :class:`PositionNeighbours`.
    """

    kind: ClassVar[str] = "knn"

    def __init__(self, k: int = 5, radius: int = 1) -> None:
        check_choice("k", k, 1)
        check_choice("radius", radius, 0)
        self.k, self.radius = int(k), int(radius)
        self.grid = (0, 0)
        self._parts: list[Tensor] = []  # [P, B, D] each

    @property
    def settings(self) -> dict[str, Any]:
        """``k`` and ``radius``."""
        return {"k": self.k, "radius": self.radius}

    @property
    def count(self) -> int:
        """Images so far."""
        return sum(part.shape[1] for part in self._parts)

    def update(self, features: Tensor, streams: Sequence[int] = ()) -> None:
        """Add features [B, D, h, w].

        Raises:
            DataError: values that are not finite, or another D, h or w than before; nothing is added.
        """
        grid = (features.shape[2], features.shape[3])
        check_finite(features)
        self._add(features.detach().float().flatten(2).permute(2, 0, 1).contiguous(), grid)

    def merge(self, other: NeighbourFit) -> None:
        """Add the images of another collection.

        Raises:
            DataError: positions or channels differ.
        """
        for part in other._parts:
            self._add(part, other.grid)

    def tensors(self) -> dict[str, Tensor]:
        """``bank`` [P, N, D] and ``grid``."""
        if not self._parts:
            raise DataError("there are no features of normal images yet: no batch was added")
        self._parts = [torch.cat(self._parts, dim=1)]
        return {"bank": self._parts[0], "grid": torch.tensor(self.grid)}

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device | None = None) -> None:
        """Take up what :meth:`tensors` gave, in place of what was there, for features on this device."""
        try:
            rows, columns = tensors["grid"].tolist()
            bank = tensors["bank"]
        except (KeyError, ValueError) as error:
            raise DataError(f"features lack or have a wrong {error}") from error
        self._parts = []
        self._add(bank.to(device), (rows, columns))

    def finish(self) -> PositionNeighbours:
        """The model of all features."""
        bank = self.tensors()["bank"]
        around = (2 * self.radius + 1) ** 2
        if bank.shape[1] * around < self.k:
            logger.warning(
                "k is %d, but %d images give only %d features", self.k, bank.shape[1], bank.shape[1] * around
            )
        bank = bank - (origin := bank.mean(dim=(0, 1)))
        # How far normal images spread around their mean at a position.
        squares = squared_norms(bank).mean(dim=1) - squared_norms(bank.mean(dim=1))
        return PositionNeighbours(bank, origin, self.grid, self.k, self.radius, usual_distance(squares.clamp(min=0)))

    def _add(self, part: Tensor, grid: tuple[int, int]) -> None:
        if part.ndim != 3 or len(part) != grid[0] * grid[1]:
            raise DataError(f"features of shape {list(part.shape)} do not lie on {grid[0]} x {grid[1]} cells")
        if self._parts and (grid, part.shape[2]) != (self.grid, self._parts[0].shape[2]):
            raise DataError(
                f"features of {part.shape[2]} channels on {grid[0]} x {grid[1]} cells cannot join those of "
                f"{self._parts[0].shape[2]} on {self.grid[0]} x {self.grid[1]}: use one extractor and one image_size"
            )
        self.grid = grid
        self._parts.append(part)


def _overlap(length: int, shift: int) -> slice:
    """Cells of a row whose neighbour ``shift`` further lies in the row too."""
    return slice(max(0, -shift), max(max(0, -shift), length - max(0, shift)))
