"""The global memory: greedy k-centre within its bound, candidates that depend on the images alone, exact distances."""

from __future__ import annotations

import itertools
import logging

import pytest
import torch
from torch import Tensor

from vitad_med.errors import ConfigError, DataError
from vitad_med.normality import coreset
from vitad_med.normality.coreset import greedy_k_centre
from vitad_med.normality.memory import GlobalMemory, MemoryFit


def farthest(points: Tensor, chosen: Tensor) -> float:
    return float(torch.cdist(points, points[chosen]).amin(dim=1).max())


def test_greedy_is_within_twice_the_best() -> None:
    points = torch.randn(12, 3)
    best = min(farthest(points, torch.tensor(c)) for c in itertools.combinations(range(12), 4))
    for seed in range(5):
        chosen = greedy_k_centre(points, 4, seed)
        assert len(chosen.unique()) == 4
        assert farthest(points, chosen) <= 2 * best + 1e-5


def test_each_centre_is_the_farthest_from_those_before() -> None:
    points = torch.randn(200, 5) + 30
    chosen = greedy_k_centre(points, 20, seed=1, projection=None)
    for number in range(1, 20):
        nearest = torch.cdist(points, points[chosen[:number]]).amin(dim=1)
        assert float(nearest[chosen[number]]) == pytest.approx(float(nearest.max()), rel=1e-3)


def test_projection_chooses_almost_as_well_and_seeds_differ() -> None:
    points = torch.randn(300, 400)
    plain, projected = (greedy_k_centre(points, 30, 0, p) for p in (None, 64))
    assert farthest(points, projected) < 1.1 * farthest(points, plain)
    assert torch.equal(projected, greedy_k_centre(points, 30, 0, 64))
    assert not torch.equal(projected, greedy_k_centre(points, 30, 1, 64))


def test_copies_are_chosen_once() -> None:
    points = torch.randn(4, 6).repeat(5, 1) + 10
    chosen = greedy_k_centre(points, 20)
    assert len(chosen) == 4
    assert farthest(points, chosen) < 1e-2


def test_a_long_choice_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(coreset, "TELL_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO):
        greedy_k_centre(torch.randn(50, 4), 10)
    assert "coreset: 10 of 10 centres, 0 s left" in caplog.text


def fitted(features: Tensor, order: list[int], batch: int, **arguments: int | None) -> MemoryFit:
    fit = MemoryFit(**arguments)  # type: ignore[arg-type]
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        fit.update(features[part], [100 + number for number in part])
    return fit


def test_distance_to_the_nearest_patch_anywhere() -> None:
    train, test = torch.randn(6, 5, 3, 4) + 40, torch.randn(2, 5, 3, 4) + 40
    model = fitted(train, list(range(6)), 4, coreset_size=1000, candidates=None).finish()
    rows = [x.permute(0, 2, 3, 1).reshape(-1, 5) for x in (test, train)]
    expected = torch.cdist(*rows, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1).reshape(2, 1, 3, 4)
    torch.testing.assert_close(model(test), expected, rtol=1e-3, atol=1e-3)
    copy = GlobalMemory.of_tensors(model.state_dict(), model.settings, model.grid, model.channels)
    assert torch.equal(copy(test), model(test))


def test_far_from_zero_it_is_centred_and_its_scale_is_the_spread() -> None:
    train, test = torch.randn(6, 5, 3, 4), torch.randn(2, 5, 3, 4)
    near, far = (
        fitted(train + shift, list(range(6)), 4, coreset_size=1000, candidates=None).finish() for shift in (0.0, 4096.0)
    )
    # Products of uncentred values of 4,096 have steps of 1 in 24 bits.
    torch.testing.assert_close(far(test + 4096), near(test), rtol=1e-2, atol=1e-2)
    patches = train.permute(0, 2, 3, 1).reshape(-1, 5)
    spread = (patches - patches.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    assert near.scale == pytest.approx(float(spread), rel=1e-5)
    assert far.scale == pytest.approx(float(spread), rel=1e-2)


def test_candidates_do_not_depend_on_order_batches_or_parts() -> None:
    features = torch.randn(10, 4, 3, 3)
    arguments = {"coreset_size": 5, "candidates": 20}
    one = fitted(features, list(range(10)), 3, **arguments)
    other = fitted(features, list(reversed(range(10))), 4, **arguments)
    left, right = fitted(features, [0, 3, 9], 2, **arguments), fitted(features, [1, 2, 4, 5, 6, 7, 8], 5, **arguments)
    left.merge(right)
    again = MemoryFit(**arguments)
    again.restore(left.tensors())
    assert len(one.tensors()["patches"]) == 20
    for found in (other, left, again):
        assert found.count == 10
        assert torch.equal(found.tensors()["patches"], one.tensors()["patches"])
    assert torch.equal(again.finish().bank, one.finish().bank)
    seeded = fitted(features, list(range(10)), 3, seed=1, **arguments)
    assert not torch.equal(seeded.tensors()["patches"], one.tensors()["patches"])


def test_candidates_are_spread_over_all_images_and_positions() -> None:
    features = torch.arange(400.0).reshape(100, 1, 2, 2)
    patches = fitted(features, list(range(100)), 10, coreset_size=1, candidates=200).tensors()["patches"]
    assert len(patches.unique()) == 200
    assert float(patches.mean()) == pytest.approx(199.5, abs=25)


def test_what_does_not_belong_is_refused() -> None:
    fit = MemoryFit(coreset_size=2, candidates=5)
    with pytest.raises(DataError, match="no batch was added"):
        fit.finish()
    fit.update(torch.randn(2, 4, 2, 2), [1, 2])
    with pytest.raises(DataError, match="cannot join those of 4 on 2 x 2"):
        fit.update(torch.randn(1, 3, 2, 2), [3])
    with pytest.raises(DataError, match="2 images came with 1 streams"):
        fit.update(torch.randn(2, 4, 2, 2), [3])
    with pytest.raises(DataError, match="not finite"):
        fit.update(torch.full((1, 4, 2, 2), torch.nan), [3])
    for arguments, key in (
        ({"coreset_size": 0}, "coreset_size"),
        ({"coreset_size": 10, "candidates": 9}, "candidates"),
        ({"projection": 0}, "projection"),
    ):
        with pytest.raises(ConfigError, match=f"{key} is"):
            MemoryFit(**arguments)
