"""The order in which test images reach adaptation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vitad_med.errors import ConfigError
from vitad_med.reproducibility import generator

Order = Literal["shuffled", "listed"]


class StreamSampler(Sampler[list[int]]):
    """Batches of indices: one pass with its last, possibly smaller batch, or a number of batches over many passes.

    Args:
        indices: of the images, in the order of the cases.
        batch_size: images a batch.
        seed: of the order; every pass has its own.
        order: ``shuffled``, or as ``listed``.
        batches: of the whole stream; None is one pass. Full batches run on from one pass into the next.

    Attributes:
        start: batches to leave out at the beginning, for a resumed run.
    """

    def __init__(
        self,
        indices: Sequence[int],
        batch_size: int,
        seed: int = 0,
        order: Order = "shuffled",
        batches: int | None = None,
    ) -> None:
        if order not in get_args(Order):
            raise ConfigError(f"stream_order '{order}' is unknown: use {', '.join(map(repr, get_args(Order)))}")
        if batches is not None and batches < 1:
            raise ConfigError(f"iterations {batches} must be at least 1")
        self.indices = list(indices)
        self.batch_size = batch_size
        self.seed = seed
        self.order = order
        self.batches = batches
        self.start = 0

    def __len__(self) -> int:
        return self.batches if self.batches is not None else -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        first = self.start
        for number, batch in enumerate(self._all()):
            if number == len(self):
                return
            if number >= first:
                yield batch

    def _all(self) -> Iterator[list[int]]:
        waiting: list[int] = []
        passes = 0
        while self.indices:
            waiting += self._pass(passes)
            passes += 1
            while len(waiting) >= self.batch_size:
                yield waiting[: self.batch_size]
                waiting = waiting[self.batch_size :]
            if self.batches is None:
                if waiting:
                    yield waiting
                return

    def _pass(self, number: int) -> list[int]:
        if self.order == "listed":
            return self.indices
        shuffled = torch.randperm(len(self.indices), generator=generator(self.seed, number, 7)).tolist()
        return [self.indices[position] for position in shuffled]


def evaluation_stream(
    dataset: Dataset[dict[str, Any]], batch_size: int, mode: str, order: Order, seed: int, workers: int = 0
) -> DataLoader[dict[str, Any]]:
    """Every image once: in the order of the stream, or as listed where the stream is over (transductive)."""
    kept = "listed" if mode == "transductive" else order
    sampler = StreamSampler(range(len(dataset)), batch_size, seed, kept)  # type: ignore[arg-type]
    return DataLoader(dataset, batch_sampler=sampler, num_workers=workers)


def transductive_stream(
    dataset: Dataset[dict[str, Any]],
    batch_size: int,
    iterations: int,
    order: Order,
    seed: int,
    chosen: Tensor | None = None,
    workers: int = 0,
) -> DataLoader[dict[str, Any]]:
    """``iterations`` batches over many passes, of the images that ``chosen``, bool [N], marks; all where None."""
    count = len(dataset)  # type: ignore[arg-type]
    indices = range(count) if chosen is None else torch.nonzero(chosen).flatten().tolist()
    sampler = StreamSampler(indices, batch_size, seed, order, iterations)
    return DataLoader(dataset, batch_sampler=sampler, num_workers=workers)
