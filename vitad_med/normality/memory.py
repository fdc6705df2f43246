"""Distance to the nearest patch of any training image at any position (PatchCore, Roth et al. 2022, without its
reweighting): for objects that lie anywhere, and for textures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitad_med.errors import DataError
from vitad_med.normality.coreset import greedy_k_centre
from vitad_med.normality.model import NormalityModel, check_choice, check_finite, usual_distance
from vitad_med.normality.nearest import nearest_squared, squared_norms
from vitad_med.normality.tiles import chunks
from vitad_med.reproducibility import generator


class GlobalMemory(NormalityModel):
    """Distance to the nearest of a few patches that stand for all.

    Args:
        bank: [M, D].
        origin: [D], what was subtracted from them.
        grid: rows and columns of the features.
        scale: see :class:`NormalityModel`.
    """

    kind: ClassVar[str] = "memory"
    bank: Tensor
    origin: Tensor
    norms: Tensor

    def __init__(self, bank: Tensor, origin: Tensor, grid: tuple[int, int], scale: float) -> None:
        super().__init__(grid, bank.shape[1], scale)
        self.register_buffer("bank", bank)
        self.register_buffer("origin", origin)
        self.register_buffer("norms", squared_norms(bank), persistent=False)

    @property
    def settings(self) -> dict[str, Any]:
        """``scale``."""
        return {"scale": self.scale}

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], grid: tuple[int, int], channels: int
    ) -> GlobalMemory:
        """See :meth:`NormalityModel.of_tensors`."""
        bank, origin = tensors.get("bank"), tensors.get("origin")
        if bank is None or origin is None or bank.ndim != 2 or bank.shape[1] != channels:
            raise DataError(f"'bank' is missing or not of {channels} channels")
        return cls(bank, origin, grid, float(settings["scale"]))

    def distances(self, features: Tensor) -> Tensor:
        """[B, 1, h, w] of features [B, D, h, w]."""
        rows = features.float().permute(0, 2, 3, 1).reshape(-1, self.channels) - self.origin
        squares = rows.new_empty(len(rows))
        for part in chunks(len(rows), len(self.bank) * 8):
            squares[part] = nearest_squared(rows[part], self.bank, self.norms, 1)[:, 0]
        return squares.sqrt().reshape(len(features), 1, *features.shape[2:])


class MemoryFit:
    """Keeps a seeded choice of patches of bounded size, and thins it out to a coreset at the end.

    Which patches are kept follows from the seed and each image's own stream alone: it is the same for every order of
    the images, batch size and way of sharing them out.

    Args:
        coreset_size: patches of the memory.
        candidates: patches of which they are chosen; None keeps all.
        projection: see :func:`~vitad_med.normality.coreset.greedy_k_centre`.
        seed: of the candidates, the first centre and the projection.
    """

    kind: ClassVar[str] = "memory"

    def __init__(
        self,
        coreset_size: int = 10_000,
        candidates: int | None = 100_000,
        projection: int | None = 128,
        seed: int = 0,
    ) -> None:
        check_choice("coreset_size", coreset_size, 1)
        if projection is not None:
            check_choice("projection", projection, 1)
        if candidates is not None:
            check_choice("candidates", candidates, coreset_size)
        self.coreset_size, self.candidates = int(coreset_size), candidates
        self.projection, self.seed = projection, seed
        self.grid = (0, 0)
        self.count = 0
        self._patches = torch.empty(0, 0)  # [C, D]
        self._ranks = torch.empty(0, dtype=torch.int64)  # the smallest of all drawn so far, ascending

    @property
    def settings(self) -> dict[str, Any]:
        """All arguments."""
        return {
            "coreset_size": self.coreset_size,
            "candidates": self.candidates,
            "projection": self.projection,
            "seed": self.seed,
        }

    def update(self, features: Tensor, streams: Sequence[int]) -> None:
        """Add features [B, D, h, w] of images with a stream of random draws each.

        Raises:
            DataError: values that are not finite, or another D, h or w than before; nothing is added.
        """
        check_finite(features)
        batch, _, rows, columns = features.shape
        if len(streams) != batch:
            raise DataError(f"{batch} images came with {len(streams)} streams of random draws: give one each")
        ranks = [torch.randint(2**62, (rows * columns,), generator=generator(self.seed, stream)) for stream in streams]
        patches = features.detach().float().permute(0, 2, 3, 1).flatten(0, 2)
        self._keep(patches, torch.cat(ranks), (rows, columns))
        self.count += batch

    def merge(self, other: MemoryFit) -> None:
        """Add the images of another collection with the same settings.

        Raises:
            DataError: positions or channels differ.
        """
        if other.count:
            self._keep(other._patches, other._ranks, other.grid)
            self.count += other.count

    def tensors(self) -> dict[str, Tensor]:
        """``patches`` [C, D] and ``ranks`` [C], ``grid``, ``count``."""
        return {
            "patches": self._patches,
            "ranks": self._ranks,
            "grid": torch.tensor(self.grid),
            "count": torch.tensor(self.count),
        }

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device | None = None) -> None:
        """Take up what :meth:`tensors` gave, in place of what was there, for features on this device."""
        try:
            rows, columns = tensors["grid"].tolist()
            patches, ranks, count = tensors["patches"], tensors["ranks"], int(tensors["count"])
        except (KeyError, ValueError) as error:
            raise DataError(f"patches lack or have a wrong {error}") from error
        if patches.ndim != 2 or ranks.shape != patches.shape[:1]:
            raise DataError(f"{list(patches.shape)} patches do not go with {list(ranks.shape)} ranks")
        # Ranks are drawn and sorted on the CPU, wherever the patches lie.
        self.grid, self.count, self._patches, self._ranks = (rows, columns), count, patches.to(device), ranks.cpu()

    def finish(self) -> GlobalMemory:
        """The coreset of the candidates.

        Raises:
            DataError: there is none.
        """
        if not self.count:
            raise DataError("there are no features of normal images yet: no batch was added")
        origin = self._patches.mean(dim=0)
        patches = self._patches - origin
        chosen = greedy_k_centre(patches, self.coreset_size, self.seed, self.projection)
        return GlobalMemory(patches[chosen], origin, self.grid, usual_distance(patches.square().sum(dim=1)))

    def _keep(self, patches: Tensor, ranks: Tensor, grid: tuple[int, int]) -> None:
        """Keep those of the smallest ranks, in the order of the ranks."""
        if self.count and (grid, patches.shape[1]) != (self.grid, self._patches.shape[1]):
            raise DataError(
                f"features of {patches.shape[1]} channels on {grid[0]} x {grid[1]} cells cannot join those of "
                f"{self._patches.shape[1]} on {self.grid[0]} x {self.grid[1]}: use one extractor and one image_size"
            )
        self.grid = grid
        if self.candidates is not None and len(self._ranks) == self.candidates:
            small = ranks < self._ranks[-1]  # nearly all of a long stream are not
            ranks, patches = ranks[small], patches[small.to(patches.device)]
            if not len(ranks):
                return
        order = torch.cat([self._ranks, ranks]).sort()
        kept = order.indices[: self.candidates]
        both = torch.cat([self._patches, patches]) if self.count else patches
        self._patches, self._ranks = both[kept.to(both.device)], order.values[: self.candidates]
