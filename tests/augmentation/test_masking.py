"""Masking takes exactly the k lowest of each view, and says what it cannot do."""

from __future__ import annotations

import pytest
import torch

from vitad_med.augmentation.masking import Masking, complement, without_lowest
from vitad_med.errors import ConfigError
from vitad_med.reproducibility import generator


def test_exactly_the_lowest_go_of_each_image() -> None:
    saliency = torch.rand(5, 49)
    kept = Masking("attention", 0.3).kept(saliency, generator(0))
    assert kept is not None
    assert kept.shape == (5, 49 - 14)
    for row, stays in zip(saliency, kept, strict=True):
        gone = sorted(set(range(49)) - set(stays.tolist()))
        assert gone == sorted(row.argsort()[:14].tolist())
        assert float(row[gone].max()) < float(row[stays].min())
        assert stays.tolist() == sorted(stays.tolist())


@pytest.mark.parametrize(
    ("ratio", "tokens", "count"), [(0.3, 196, 58), (0.3, 36, 10), (0.5, 49, 24), (0.29, 100, 29), (0.01, 36, 0)]
)
def test_k_is_the_floor_of_r_n(ratio: float, tokens: int, count: int) -> None:
    assert Masking("attention", ratio).count(tokens) == count


def test_of_equal_values_the_earlier_goes() -> None:
    assert without_lowest(torch.zeros(2, 6), 2).tolist() == [[2, 3, 4, 5]] * 2
    assert without_lowest(torch.tensor([[1.0, 0.0, 1.0, 0.0, 0.0]]), 2).tolist() == [[0, 2, 4]]


def test_random_follows_the_generator_and_ignores_saliency() -> None:
    masking = Masking("random", 0.5)
    first, again = (masking.kept(torch.rand(3, 30), generator(4)) for _ in range(2))
    other = masking.kept(torch.rand(3, 30), generator(5))
    assert first is not None
    assert first.shape == (3, 15)
    assert torch.equal(first, again)  # type: ignore[arg-type]
    assert not torch.equal(first, other)  # type: ignore[arg-type]
    assert not torch.equal(first[0], first[1])
    assert not masking.needs_saliency


@pytest.mark.parametrize("masking", [Masking("none"), Masking("attention", 0), Masking("random", 0)])
def test_nothing_goes(masking: Masking) -> None:
    assert masking.kept(torch.rand(2, 9), generator(0)) is None
    assert not masking.needs_saliency


def test_the_complement_is_what_goes() -> None:
    assert complement(torch.tensor([[0, 2], [1, 3]]), 4).tolist() == [
        [False, True, False, True],
        [True, False, True, False],
    ]


@pytest.mark.parametrize("ratio", [1, 1.2, -0.1, float("nan")])
def test_a_ratio_that_is_none_is_refused(ratio: float) -> None:
    with pytest.raises(ConfigError, match="mask_ratio"):
        Masking("attention", ratio)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="masking 'blocks' is unknown"):
        Masking("blocks")  # type: ignore[arg-type]
