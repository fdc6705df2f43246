"""The order in which images reach adaptation follows from the seed alone; a resumed run meets the same batches."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from vitad_med.engines.adaptation_stream import StreamSampler, evaluation_stream, transductive_stream
from vitad_med.errors import ConfigError


def flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


def test_one_pass_holds_every_image_once_and_keeps_the_last_small_batch() -> None:
    batches = list(StreamSampler(range(21), 4, seed=3))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 1]
    assert sorted(flat(batches)) == list(range(21))
    assert flat(batches) != list(range(21))


def test_seeds_and_passes_have_their_own_orders() -> None:
    assert list(StreamSampler(range(20), 4, seed=3)) == list(StreamSampler(range(20), 4, seed=3))
    assert list(StreamSampler(range(20), 4, seed=3)) != list(StreamSampler(range(20), 4, seed=4))
    twice = list(StreamSampler(range(20), 4, seed=3, batches=10))
    assert twice[:5] != twice[5:]
    assert list(StreamSampler(range(6), 4, order="listed")) == [[0, 1, 2, 3], [4, 5]]


def test_many_batches_run_over_many_passes_evenly() -> None:
    sampler = StreamSampler(range(10), 4, batches=25)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 25
    assert all(len(batch) == 4 for batch in batches)
    assert set(Counter(flat(batches)).values()) == {10}


def test_a_resumed_stream_goes_on_where_it_stopped() -> None:
    whole = list(StreamSampler(range(10), 4, seed=1, batches=9))
    rest = StreamSampler(range(10), 4, seed=1, batches=9)
    rest.start = 6
    assert list(rest) == whole[6:]
    assert len(rest) == 9


def test_fewer_images_than_a_batch() -> None:
    assert list(StreamSampler([5, 6], 16, order="listed")) == [[5, 6]]
    assert all(len(batch) == 16 for batch in StreamSampler([5, 6], 16, batches=3))


def test_the_loaders() -> None:
    images = torch.arange(6).reshape(6, 1)
    assert [batch.flatten().tolist() for batch in evaluation_stream(images, 4, "transductive", "shuffled", 0)] == [
        [0, 1, 2, 3],
        [4, 5],
    ]
    seen = torch.cat(list(evaluation_stream(images, 4, "online", "shuffled", 0))).flatten().tolist()
    assert sorted(seen) == list(range(6))
    assert seen != list(range(6))
    chosen = torch.tensor([True, False, True, True, False, False])
    some = torch.cat(list(transductive_stream(images, 4, 5, "shuffled", 0, chosen))).flatten().tolist()
    assert len(some) == 20
    assert set(some) == {0, 2, 3}


@pytest.mark.parametrize(("options", "key"), [({"order": "random"}, "stream_order"), ({"batches": 0}, "iterations")])
def test_mistyped_options_are_refused(options: dict, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        StreamSampler(range(4), 2, **options)
