"""Mean and covariance of the features of every position, in one pass over the images (Eq. 1 and 2, VISAPP 2023).

Pairwise updates after Chan, Golub and LeVeque (1979): each block of images is centred on its own mean, so that features
with means far from zero lose nothing, and two sets of images that were seen apart become one. Memory does not depend on
the number of images.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitad_med.errors import DataError
from vitad_med.normality.model import check_finite
from vitad_med.normality.tiles import TriangularTiles, chunks

BLOCK = 128
CACHED = 4 * 2**20  # bytes that stay near a core between the steps of an update


class GaussianMoments:
    """Counts, means and centred second moments of P positions.

    Products of centred features are taken in the features' own number format (float32 from a network), and summed over
    blocks of images in float64.

    Args:
        block: images that are collected before one update; matrix products of a few images each would be slow.

    Attributes:
        count: images so far.
        grid: rows and columns, P = rows * columns.
    """

    def __init__(self, block: int = BLOCK) -> None:
        self.block = block
        self.count = 0
        self.grid = (0, 0)
        self._mean = torch.empty(0)
        self._scatter = TriangularTiles({}, 0)
        self._waiting = torch.empty(0)  # [P, block, D], the first `_filled` images of it
        self._filled = 0

    @property
    def channels(self) -> int:
        """D."""
        return self._scatter.size

    @property
    def mean(self) -> Tensor:
        """Means of all images so far, float64 [P, D]."""
        self._flush()
        return self._mean

    @property
    def scatter(self) -> TriangularTiles:
        """Sums over all images so far of centred outer products, float64."""
        self._flush()
        return self._scatter

    def update(self, features: Tensor) -> None:
        """Add features [B, D, h, w] of a batch of images.

        Raises:
            DataError: values that are not finite, or another D, h or w than before; nothing is added.
        """
        batch, channels, *grid = features.shape
        if self._mean.numel() == 0:
            self._allocate((grid[0], grid[1]), channels, features.device)
        elif (tuple(grid), channels) != (self.grid, self.channels):
            raise DataError(
                f"features of {channels} channels on {grid[0]} x {grid[1]} cells cannot join those of {self.channels} "
                f"on {self.grid[0]} x {self.grid[1]}: use one extractor and one image_size"
            )
        check_finite(features)
        arranged = features.detach().flatten(2).permute(2, 0, 1)  # [P, B, D]
        dtype = features.dtype if features.dtype in (torch.float32, torch.float64) else torch.float32
        if self._waiting.numel() == 0 or self._waiting.dtype != dtype:
            self._flush()
            self._waiting = torch.empty(len(arranged), self.block, channels, dtype=dtype, device=features.device)
        start = 0
        while start < batch:
            taken = min(self.block - self._filled, batch - start)
            self._waiting[:, self._filled : self._filled + taken] = arranged[:, start : start + taken]
            self._filled += taken
            self.count += taken
            start += taken
            if self._filled == self.block:
                self._flush()

    def merge(self, other: GaussianMoments) -> None:
        """Add the images of another set, which stays as it is.

        Raises:
            DataError: positions or channels differ.
        """
        if other.count == 0:
            return
        if self.count == 0:
            self._allocate(other.grid, other.channels, other.mean.device)
        if (self.grid, self.channels) != (other.grid, other.channels):
            raise DataError(
                f"moments of {other.channels} channels on {other.grid} cells cannot join those of {self.channels} on "
                f"{self.grid}"
            )
        self._flush()
        before = self.count
        self.count += other.count
        # Both sums spread around their own mean; what separates the means is a spread too.
        weight = before * (other.count / self.count)
        theirs = {(rows.start, columns.start): tile for rows, columns, tile in other.scatter}
        difference = other.mean.to(self._mean) - self._mean
        for rows, columns, tile in self._scatter:
            for part in chunks(len(tile), tile[0].numel() * 8):
                tile[part].add_(theirs[rows.start, columns.start][part].to(tile))
                left, right = difference[part, rows, None], difference[part, None, columns]
                tile[part].addcmul_(left, right, value=weight)
        self._mean += difference * (other.count / self.count)

    def check_count(self) -> None:
        """Raise DataError unless there are the two images that a covariance needs."""
        if self.count < 2:
            raise DataError(
                f"{self.count} image has no covariance: fit on at least 2 normal images, better on more than there are "
                "channels"
            )

    def covariance(self, part: slice, epsilon: float, out: Tensor | None = None) -> Tensor:
        """Eq. 2 at a run of positions: float64 [p, D, D], of which the tiles on and below the diagonal are filled.

        ``out`` as :meth:`~vitad_med.normality.tiles.TriangularTiles.dense` takes it.

        Raises:
            DataError: fewer than two images.
        """
        self.check_count()
        matrices = self.scatter.dense(part, self.count - 1, out)
        matrices.diagonal(dim1=1, dim2=2).add_(epsilon)
        return matrices

    def tensors(self) -> dict[str, Tensor]:
        """What :meth:`restore` needs, by name; all images so far are in it."""
        return {
            "count": torch.tensor(self.count),
            "grid": torch.tensor(self.grid),
            "mean": self.mean,
            **self.scatter.named("scatter"),
        }

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device | None = None) -> None:
        """Take up what :meth:`tensors` gave, in place of what was there, for features on this device; in new memory.

        Raises:
            DataError: a tensor is missing, or shapes contradict each other.
        """
        try:
            count, grid, mean = int(tensors["count"]), tensors["grid"].tolist(), tensors["mean"]
        except (KeyError, ValueError, RuntimeError) as error:
            raise DataError(f"moments lack or have a wrong {error}") from error
        if mean.ndim != 2 or len(grid) != 2 or grid[0] * grid[1] != len(mean) or mean.dtype != torch.float64:
            raise DataError(f"'mean' is {mean.dtype} {list(mean.shape)}, but must be float64 of a grid of {grid} cells")
        scatter = TriangularTiles.of_named(tensors, "scatter", mean.shape[1])
        self.grid, self.count = (grid[0], grid[1]), count
        self._mean, self._scatter = mean.to(device, copy=True), scatter.copied(device)
        self._drop_waiting()

    def _allocate(self, grid: tuple[int, int], channels: int, device: torch.device) -> None:
        positions = grid[0] * grid[1]
        self.grid = grid
        self._mean = torch.zeros(positions, channels, dtype=torch.float64, device=device)
        self._scatter = TriangularTiles.zeros(positions, channels, torch.float64, device)
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        """Empty it; the next features say in which number format they wait."""
        self._waiting, self._filled = torch.empty(0), 0

    def _flush(self) -> None:
        """Merge the waiting images into mean and scatter."""
        new, self._filled = self._filled, 0
        if not new:
            return
        before, waiting = self.count - new, self._waiting
        weight = before * (new / self.count)
        for part in chunks(len(waiting), ((new + 1) * self.channels + self.channels**2) * 4, CACHED):
            values = waiting[part, :new]
            near = values.mean(dim=1)
            centred = values.new_empty(len(values), new + 1, self.channels)
            torch.sub(values, near[:, None], out=centred[:, :new])
            # What rounding left of the mean counts in the mean; its square in the scatter is below rounding.
            mean = near.double() + centred[:, :new].mean(dim=1).double()
            difference = mean - self._mean[part]
            self._mean[part].add_(difference, alpha=new / self.count)
            # One more row carries the spread between the means of the earlier images and of these.
            centred[:, new] = difference * weight**0.5
            for rows, columns, tile in self._scatter:
                tile[part].add_(torch.bmm(centred[:, :, rows].mT, centred[:, :, columns]))
