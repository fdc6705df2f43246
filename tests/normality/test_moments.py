"""One pass gives numpy's mean and covariance, in any batches, from several parts, far from zero, in constant memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vitad_med.errors import DataError
from vitad_med.normality.moments import GaussianMoments


def collected(features: Tensor, batch: int = 7, block: int = 5) -> GaussianMoments:
    moments = GaussianMoments(block)
    for part in features.split(batch):
        moments.update(part)
    return moments


def covariances(moments: GaussianMoments, epsilon: float = 0.0) -> np.ndarray:
    """Symmetric, from the lower triangles."""
    lower = moments.covariance(slice(0, len(moments.mean)), epsilon).tril()
    return (lower + lower.tril(-1).mT).numpy()


def by_numpy(features: Tensor, epsilon: float = 0.0) -> np.ndarray:
    values = features.double().flatten(2).numpy()
    return np.stack(
        [np.cov(values[:, :, p], rowvar=False) + epsilon * np.eye(values.shape[1]) for p in range(values.shape[2])]
    )


@pytest.mark.parametrize("channels", [3, 130])
@pytest.mark.parametrize(("batch", "block"), [(1, 1), (7, 5), (4, 64), (40, 3)])
def test_equals_numpy(channels: int, batch: int, block: int) -> None:
    features = torch.randn(23, channels, 2, 3, dtype=torch.float64) * 3 + 1
    moments = collected(features, batch, block)
    assert moments.count == 23
    np.testing.assert_allclose(moments.mean.numpy(), features.mean(dim=0).flatten(1).T.numpy(), atol=1e-12)
    np.testing.assert_allclose(covariances(moments, 0.01), by_numpy(features, 0.01), rtol=1e-10, atol=1e-10)


def test_means_a_thousand_deviations_from_zero_lose_nothing() -> None:
    features = torch.randn(50, 4, 2, 2, dtype=torch.float64) + 1000
    features[25:] += 3  # the mean moves on the way, too
    np.testing.assert_allclose(covariances(collected(features)), by_numpy(features), rtol=1e-9)
    single = collected(features.float())
    np.testing.assert_allclose(covariances(single), by_numpy(features.float()), rtol=1e-5)
    squares = features.float().square().mean(dim=0) - features.float().mean(dim=0).square()  # the textbook's formula
    variances = by_numpy(features).diagonal(axis1=1, axis2=2)
    assert np.abs(squares.flatten(1).T.numpy() / variances - 1).max() > 1e-3


@pytest.mark.parametrize("cuts", [[10], [1, 2, 40], [0, 20]])
def test_parts_merged_are_the_whole(cuts: list[int]) -> None:
    features = torch.randn(41, 140, 1, 2, dtype=torch.float64) * 2 - 5
    features[20:] += 4
    merged = GaussianMoments()
    for part in torch.tensor_split(features, cuts):
        other = collected(part) if len(part) else GaussianMoments()
        before = {name: value.clone() for name, value in other.tensors().items()} if len(part) else {}
        merged.merge(other)
        for name, value in before.items():
            assert torch.equal(other.tensors()[name], value)  # the part stays as it was
    assert merged.count == 41
    np.testing.assert_allclose(covariances(merged), covariances(collected(features)), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(merged.mean.numpy(), collected(features).mean.numpy(), atol=1e-12)


def test_it_goes_on_from_what_was_stored_bit_by_bit() -> None:
    features = torch.randn(30, 5, 2, 2)
    straight, first, second = GaussianMoments(8), GaussianMoments(8), GaussianMoments(8)
    for part in features[:12].split(4):
        straight.update(part)
        first.update(part)
    straight.tensors()
    second.restore(first.tensors())
    for part in features[12:].split(4):
        straight.update(part)
        second.update(part)
    assert second.count == straight.count == 30
    for name, value in straight.tensors().items():
        assert torch.equal(second.tensors()[name], value), name


def test_float64_stays_float64_after_restoring_and_merging() -> None:
    features = 1 + 1e-6 * torch.randn(30, 5, 2, 2, dtype=torch.float64)  # in float32 hardly anything is left of them
    straight, first, restored, merged = (GaussianMoments(8) for _ in range(4))
    for one in (straight, first):
        one.update(features[:12])
    restored.restore(first.tensors())
    merged.merge(first)
    for one in (straight, restored, merged):
        one.update(features[12:])
        np.testing.assert_allclose(one.mean.numpy(), features.mean(dim=0).flatten(1).T.numpy(), rtol=1e-12)
        np.testing.assert_allclose(1e12 * covariances(one), 1e12 * by_numpy(features), atol=1e-8)
    np.testing.assert_allclose(covariances(restored), covariances(straight), rtol=0, atol=1e-20)


def test_the_number_format_of_features_may_change_on_the_way() -> None:
    features = 1 + 1e-6 * torch.randn(30, 5, 2, 2, dtype=torch.float64)
    moments = GaussianMoments(64)
    moments.update(torch.ones(3, 5, 2, 2))
    moments.update(features)
    whole = torch.cat([torch.ones(3, 5, 2, 2, dtype=torch.float64), features])
    assert moments.count == 33
    np.testing.assert_allclose(1e12 * covariances(moments), 1e12 * by_numpy(whole), atol=1e-8)


def test_what_was_restored_shares_nothing_with_the_donor() -> None:
    donor, taker = collected(torch.randn(9, 5, 2, 2)), GaussianMoments()
    before = {name: value.clone() for name, value in donor.tensors().items()}
    taker.restore(donor.tensors())
    taker.update(torch.randn(7, 5, 2, 2) + 3)
    assert not torch.equal(taker.mean, before["mean"])
    for name, value in before.items():
        assert torch.equal(donor.tensors()[name], value), name
    assert donor.count == 9


def test_memory_does_not_grow_with_the_images() -> None:
    def held(moments: GaussianMoments) -> int:
        return sum(tensor.numel() for tensor in (*moments.tensors().values(), moments._waiting))

    features = torch.randn(20, 6, 2, 2)
    few, many = collected(features), GaussianMoments(5)
    for _ in range(30):
        many.update(features)
    assert many.count == 600
    assert held(many) == held(few)


def test_what_does_not_belong_is_refused_and_leaves_no_trace() -> None:
    features = torch.randn(6, 4, 2, 2)
    moments = collected(features)
    for wrong in (torch.randn(2, 5, 2, 2), torch.randn(2, 4, 2, 1)):
        with pytest.raises(DataError, match="cannot join those of 4 on 2 x 2"):
            moments.update(wrong)
    broken = features.clone()
    broken[1, 0, 0, 0] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        moments.update(broken)
    with pytest.raises(DataError, match="cannot join"):
        moments.merge(collected(torch.randn(3, 5, 2, 2)))
    assert moments.count == 6
    np.testing.assert_allclose(covariances(moments), by_numpy(features), rtol=1e-4, atol=1e-6)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(DataError, match="1 image has no covariance: fit on at least 2"):
        collected(torch.randn(1, 4, 2, 2)).covariance(slice(0, 1), 0.01)


def test_damaged_tensors_are_named() -> None:
    tensors = collected(torch.randn(5, 4, 2, 2)).tensors()
    with pytest.raises(DataError, match="mean"):
        GaussianMoments().restore({k: v for k, v in tensors.items() if k != "mean"})
    with pytest.raises(DataError, match=r"'mean' is torch\.float32"):
        GaussianMoments().restore(tensors | {"mean": tensors["mean"].float()})
    with pytest.raises(DataError, match="grid of"):
        GaussianMoments().restore(tensors | {"grid": torch.tensor([3, 3])})
