"""Sequences of maps that are read from disk one at a time, as often as they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

_AHEAD = 16


class Prefetched(Sequence[np.ndarray]):
    """A sequence of maps whose next few are read by threads while the current one is used.

    Args:
        maps: the sequence; reading an item twice gives the same map.
    """

    def __init__(self, maps: Sequence[np.ndarray]) -> None:
        self._maps = maps

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, position: int) -> np.ndarray:  # type: ignore[override]
        return self._maps[position]

    def __iter__(self) -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            waiting = deque(pool.submit(self._maps.__getitem__, i) for i in range(min(_AHEAD, len(self._maps))))
            for following in range(len(waiting), len(self._maps) + len(waiting)):
                if following < len(self._maps):
                    waiting.append(pool.submit(self._maps.__getitem__, following))
                yield waiting.popleft().result()


class Repeated(Sequence[np.ndarray]):
    """The same map for every image, kept once."""

    def __init__(self, values: np.ndarray, times: int) -> None:
        self._values, self._times = values, times

    def __len__(self) -> int:
        return self._times

    def __getitem__(self, position: int) -> np.ndarray:  # type: ignore[override]
        if not -self._times <= position < self._times:
            raise IndexError(position)
        return self._values


class EveryNth(Sequence[np.ndarray]):
    """Every n-th map of a sequence, from the first."""

    def __init__(self, maps: Sequence[np.ndarray], step: int) -> None:
        self._maps, self._step = maps, step

    def __len__(self) -> int:
        return -(-len(self._maps) // self._step)

    def __getitem__(self, position: int) -> np.ndarray:  # type: ignore[override]
        if not 0 <= position < len(self):
            raise IndexError(position)
        return self._maps[position * self._step]


def thinned(maps: Sequence[np.ndarray], most: int) -> Sequence[np.ndarray]:
    """The maps, or every n-th of them so that at most ``most`` remain."""
    step = -(-len(maps) // most)
    return maps if step <= 1 else Prefetched(EveryNth(maps, step))
