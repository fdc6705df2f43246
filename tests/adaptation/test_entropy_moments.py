"""One pass over batches gives what NumPy gives of all values at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitad_med.adaptation.entropy_moments import EntropyMoments, MomentAccumulator
from vitad_med.errors import DataError

TOKENS = 6


@pytest.fixture
def entropy() -> torch.Tensor:
    """Values as they are: large, nearly equal, in float32."""
    return (5.2 + 1e-3 * torch.randn(101, TOKENS)).float()


@pytest.fixture
def labels() -> torch.Tensor:
    return (torch.rand(101) < 0.4).long()


def accumulate(entropy: torch.Tensor, labels: torch.Tensor, sizes: list[int]) -> EntropyMoments:
    sums = MomentAccumulator()
    for values, classes in zip(entropy.split(sizes), labels.split(sizes), strict=True):
        sums.update(values, classes)
    return sums.moments


def assert_equal(one: EntropyMoments, two: EntropyMoments) -> None:
    assert torch.equal(one.count, two.count)
    torch.testing.assert_close(one.mean, two.mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(one.squares, two.squares, rtol=0, atol=1e-12)


def test_against_numpy(entropy: torch.Tensor, labels: torch.Tensor) -> None:
    found = accumulate(entropy, labels, [16] * 6 + [5])
    assert found.mean.dtype == found.squares.dtype == torch.float64
    for label in (0, 1):
        values = entropy.numpy()[labels.numpy() == label].astype(np.float64)
        assert found.count[label] == len(values)
        np.testing.assert_allclose(found.mean[label], values.mean(axis=0), rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.squares[label], values.var(axis=0) * len(values), rtol=0, atol=1e-12)


def test_neither_the_order_of_batches_nor_their_size_matters(entropy: torch.Tensor, labels: torch.Tensor) -> None:
    whole = accumulate(entropy, labels, [101])
    order = torch.randperm(101)
    for sizes in ([1] * 101, [100, 1], [13, 50, 38]):
        assert_equal(accumulate(entropy[order], labels[order], sizes), whole)


def test_a_class_may_be_absent_from_a_batch_or_from_all(entropy: torch.Tensor, labels: torch.Tensor) -> None:
    whole = accumulate(entropy, labels, [101])
    order = labels.argsort()  # all of class 0 first
    assert_equal(accumulate(entropy[order], labels[order], [20] * 5 + [1]), whole)
    alone = accumulate(entropy, torch.zeros(101, dtype=torch.long), [50, 51])
    assert alone.count.tolist() == [101, 0]
    assert torch.equal(alone.mean[1], torch.zeros(TOKENS, dtype=torch.float64))
    assert torch.equal(alone.squares[1], torch.zeros(TOKENS, dtype=torch.float64))


def test_what_is_wrong_is_refused_and_not_added(entropy: torch.Tensor, labels: torch.Tensor) -> None:
    sums = MomentAccumulator()
    with pytest.raises(DataError, match="no batch"):
        _ = sums.moments
    sums.update(entropy, labels)
    before = sums.moments
    broken = entropy.clone()
    broken[7, 2] = torch.nan
    for values, classes, message in (
        (broken, labels, "not finite"),
        (entropy, labels + 1, "0 .normal. or 1"),
        (entropy, labels[:-1], "shape"),
        (entropy[:, :-1], labels, "tokens cannot be merged"),
    ):
        with pytest.raises(DataError, match=message):
            sums.update(values, classes)
    assert sums.moments is before
