"""Nearest neighbours by position equal a plain search."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor

from vitad_med.errors import ConfigError, DataError
from vitad_med.normality.neighbours import NeighbourFit, PositionNeighbours


def fitted(features: Tensor, k: int, radius: int) -> PositionNeighbours:
    fit = NeighbourFit(k, radius)
    for part in features.split(4):
        fit.update(part)
    return fit.finish()


def searched(train: Tensor, test: Tensor, k: int, radius: int) -> np.ndarray:
    found = np.empty((len(test), 1, *test.shape[2:]))
    for b, _, i, j in np.ndindex(found.shape):
        near = train[:, :, max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1]
        rows = near.permute(0, 2, 3, 1).reshape(-1, train.shape[1])
        found[b, 0, i, j] = (rows - test[b, :, i, j]).norm(dim=1).sort().values[:k].mean()
    return found


@pytest.mark.parametrize("radius", [0, 1, 4])
@pytest.mark.parametrize("k", [1, 5])
def test_equals_a_plain_search(k: int, radius: int) -> None:
    train, test = torch.randn(9, 6, 3, 4) + 50, torch.randn(2, 6, 3, 4) + 50  # the offset must not cancel digits
    distances = fitted(train, k, radius)(test)
    np.testing.assert_allclose(distances.numpy(), searched(train, test, k, radius), rtol=1e-4)


def test_a_training_image_is_its_own_neighbour() -> None:
    train = torch.randn(5, 4, 2, 2)
    assert float(fitted(train, 1, 1)(train).max()) < 1e-2
    assert float(fitted(train, 2, 1)(train).min()) > 0.05


def test_too_few_features_for_k_are_said_and_all_are_used(caplog: pytest.LogCaptureFixture) -> None:
    train, test = torch.randn(3, 4, 1, 2), torch.randn(1, 4, 1, 2)
    with caplog.at_level(logging.WARNING):
        model = fitted(train, 5, 0)
    assert "k is 5, but 3 images give only 3 features" in caplog.text
    np.testing.assert_allclose(model(test).numpy(), searched(train, test, 5, 0), rtol=1e-4)


def test_parts_merged_are_the_whole_and_it_is_made_again() -> None:
    train, test = torch.randn(9, 6, 3, 4), torch.randn(2, 6, 3, 4)
    one, two, again = NeighbourFit(), NeighbourFit(), NeighbourFit()
    one.update(train[:5])
    two.update(train[5:])
    one.merge(two)
    again.restore(one.tensors())
    model, whole = again.finish(), fitted(train, 5, 1)
    assert again.count == 9
    torch.testing.assert_close(model(test), whole(test))
    assert model.scale == pytest.approx(whole.scale)
    copy = PositionNeighbours.of_tensors(model.state_dict(), model.settings, model.grid, model.channels)
    assert torch.equal(copy(test), model(test))


def test_the_scale_is_the_spread_at_a_position() -> None:
    train = torch.randn(400, 9, 2, 2) * 2 + torch.randn(1, 9, 2, 2) * 100
    assert fitted(train, 5, 1).scale == pytest.approx(2 * 3, rel=0.05)  # root of the sum of nine variances
    assert fitted(torch.ones(3, 4, 2, 2), 5, 1).scale == 1.0


def test_what_does_not_belong_is_refused() -> None:
    fit = NeighbourFit()
    with pytest.raises(DataError, match="no batch was added"):
        fit.finish()
    fit.update(torch.randn(2, 4, 2, 2))
    with pytest.raises(DataError, match="cannot join those of 4 on 2 x 2"):
        fit.update(torch.randn(2, 5, 2, 2))
    with pytest.raises(DataError, match="not finite"):
        fit.update(torch.full((1, 4, 2, 2), torch.inf))
    assert fit.count == 2
    for arguments in ({"k": 0}, {"radius": -1}):
        with pytest.raises(ConfigError, match=f"{next(iter(arguments))} is"):
            NeighbourFit(**arguments)
