"""Tiles of lower triangles: what is stored comes back, in 60 % of the memory of squares."""

from __future__ import annotations

import pytest
import torch

from vitad_med.errors import DataError
from vitad_med.normality.tiles import TriangularTiles, chunks, tile_spans


@pytest.mark.parametrize("size", [1, 100, 128, 129, 300, 550])
def test_spans_cover_every_channel_once(size: int) -> None:
    spans = tile_spans(size)
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(size))
    assert max(span.stop - span.start for span in spans) <= 128


def test_the_lower_triangle_comes_back() -> None:
    matrices = torch.randn(3, 300, 300)
    tiles = TriangularTiles.zeros(3, 300, torch.float32)
    tiles.store(slice(0, 2), matrices[:2])
    tiles.store(slice(2, 3), matrices[2:])
    lower = torch.ones(300, 300).tril().bool()
    assert torch.equal(tiles.dense(slice(0, 3))[:, lower], matrices[:, lower])
    assert torch.equal(tiles.dense(slice(1, 2))[:, lower], matrices[1:2, lower])
    again = TriangularTiles.of_named(tiles.named("x"), "x", 300)
    assert torch.equal(again.dense(slice(0, 3)), tiles.dense(slice(0, 3)))


def test_memory_is_that_of_the_lower_tiles() -> None:
    tiles = TriangularTiles.zeros(1, 550, torch.float64)
    stored = sum(tile.numel() for _, _, tile in tiles)
    assert stored == 15 * 110 * 110
    assert stored / 550**2 == pytest.approx(0.6)


def test_a_missing_or_misshapen_tile_is_named() -> None:
    named = TriangularTiles.zeros(2, 200, torch.float32).named("factor")
    with pytest.raises(DataError, match="'factor_1_0' is missing"):
        TriangularTiles.of_named({k: v for k, v in named.items() if k != "factor_1_0"}, "factor", 200)
    with pytest.raises(DataError, match="'factor_1_1'"):
        TriangularTiles.of_named(named | {"factor_1_1": torch.zeros(3, 100, 100)}, "factor", 200)


def test_chunks_cover_and_keep_to_the_budget() -> None:
    parts = chunks(10, 300, budget=1000)
    assert [(part.start, part.stop) for part in parts] == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert len(chunks(4, 5000, budget=1000)) == 4
