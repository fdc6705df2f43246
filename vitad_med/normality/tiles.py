"""Lower triangles of many symmetric or triangular matrices, stored in tiles.

A covariance per position is the largest thing that this project stores: 3,136 positions of 550 channels are 7.6 GB as
float64 squares. Tiles of the lower triangle alone are 60 % of that, and unlike a packed triangle every tile is a plain
matrix that batched products and triangular solves take as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from vitad_med.errors import DataError

TILE = 128


class TriangularTiles:
    """P matrices of D x D, of which the tiles on and below the diagonal are stored.

    Args:
        tiles: [P, rows, columns] by (row of tiles, column of tiles), column <= row.
        size: D.
    """

    def __init__(self, tiles: Mapping[tuple[int, int], Tensor], size: int) -> None:
        self.tiles = dict(tiles)
        self.size = size

    @classmethod
    def zeros(cls, count: int, size: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> TriangularTiles:
        """``count`` matrices of zeros."""
        spans = tile_spans(size)
        return cls(
            {
                (i, j): torch.zeros(
                    count, rows.stop - rows.start, columns.stop - columns.start, dtype=dtype, device=device
                )
                for i, rows in enumerate(spans)
                for j, columns in enumerate(spans[: i + 1])
            },
            size,
        )

    @classmethod
    def of_named(cls, tensors: Mapping[str, Tensor], prefix: str, size: int) -> TriangularTiles:
        """From what :meth:`named` gave.

        Raises:
            DataError: a tile is missing or of another shape.
        """
        spans = tile_spans(size)
        found, count = {}, None
        for i, rows in enumerate(spans):
            for j, columns in enumerate(spans[: i + 1]):
                name = f"{prefix}_{i}_{j}"
                tile = tensors.get(name)
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                if tile is None or tuple(tile.shape[1:]) != shape or len(tile) != (count or len(tile)):
                    raise DataError(f"'{name}' is missing or no stack of {shape[0]} x {shape[1]} matrices")
                count = len(tile)
                found[i, j] = tile
        return cls(found, size)

    def named(self, prefix: str) -> dict[str, Tensor]:
        """The tiles by names that a file or a module can have."""
        return {f"{prefix}_{i}_{j}": tile for (i, j), tile in self.tiles.items()}

    def copied(self, device: torch.device | None = None) -> TriangularTiles:
        """The same in new memory on a device; None is where each tile lies."""
        return TriangularTiles({place: tile.to(device, copy=True) for place, tile in self.tiles.items()}, self.size)

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Rows, columns and tile, [P, rows, columns], row by row."""
        spans = tile_spans(self.size)
        for (i, j), tile in sorted(self.tiles.items()):
            yield spans[i], spans[j], tile

    def dense(self, part: slice, divisor: float = 1.0, out: Tensor | None = None) -> Tensor:
        """A run of the matrices, divided, as [p, D, D]; zero above the tiles of the diagonal.

        ``out`` of at least this size, zero there, is filled in place of new memory, which costs more than the work.
        """
        tiles = list(self)
        count = len(tiles[0][2][part])
        full = tiles[0][2].new_zeros(count, self.size, self.size) if out is None else out[:count]
        for rows, columns, tile in tiles:
            torch.div(tile[part], divisor, out=full[:, rows, columns])
        return full

    def store(self, part: slice, matrices: Tensor) -> None:
        """Overwrite a run of the matrices with the lower triangles of [p, D, D]."""
        for rows, columns, tile in self:
            tile[part] = matrices[:, rows, columns]


def tile_spans(size: int) -> list[slice]:
    """Rows, or columns, of each tile: as equal as they can be, none wider than 128."""
    count = max(1, -(-size // TILE))
    edges = [size * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def chunks(count: int, bytes_each: int, budget: int = 32 * 2**20) -> list[slice]:
    """Runs of at most ``budget`` bytes that together cover ``count`` positions; at least one position each."""
    step = max(1, budget // max(1, bytes_each))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
