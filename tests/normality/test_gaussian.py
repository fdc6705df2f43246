"""Mahalanobis distances equal scipy's, and hard covariances are factorised or refused with a reason."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from torch import Tensor

from vitad_med.errors import ConfigError, DataError
from vitad_med.normality.gaussian import GaussianFit, PositionGaussian, factorise, invert_lower


def fitted(features: Tensor, epsilon: float = 0.01, double: bool = True) -> PositionGaussian:
    fit = GaussianFit(epsilon, double, block=8)
    for part in features.split(7):
        fit.update(part)
    return fit.finish()


def by_scipy(train: Tensor, test: Tensor, epsilon: float) -> np.ndarray:
    """[B, P], one position and image after the other."""
    known, asked = train.double().flatten(2).numpy(), test.double().flatten(2).numpy()
    found = np.empty((len(asked), known.shape[2]))
    for p in range(known.shape[2]):
        inverse = np.linalg.inv(np.cov(known[:, :, p], rowvar=False) + epsilon * np.eye(known.shape[1]))
        for b in range(len(asked)):
            found[b, p] = mahalanobis(asked[b, :, p], known[:, :, p].mean(axis=0), inverse)
    return found


@pytest.mark.parametrize("channels", [2, 20, 270])  # one tile, and more
def test_equals_scipy(channels: int) -> None:
    train = torch.randn(40, channels, 2, 3, dtype=torch.float64) * 2 + 3
    test = torch.randn(5, channels, 2, 3, dtype=torch.float64) * 3
    distances = fitted(train)(test)
    assert distances.shape == (5, 1, 2, 3)
    np.testing.assert_allclose(distances.flatten(1).numpy(), by_scipy(train, test, 0.01), rtol=1e-6)


def test_single_precision_is_close() -> None:
    train, test = torch.randn(40, 30, 2, 2), torch.randn(4, 30, 2, 2)
    distances = fitted(train, double=False)(test)
    assert distances.dtype == torch.float32
    np.testing.assert_allclose(distances.flatten(1).numpy(), by_scipy(train, test, 0.01), rtol=1e-3)


def test_means_a_thousand_deviations_from_zero_still_factor() -> None:
    train = torch.randn(60, 10, 2, 2) + 1000
    test = torch.randn(3, 10, 2, 2) + 1000
    model = fitted(train, double=False)
    assert float(model.jitter.max()) == 0
    np.testing.assert_allclose(model(test).flatten(1).numpy(), by_scipy(train, test, 0.01), rtol=1e-3)


def test_the_batch_does_not_matter() -> None:
    train, test = torch.randn(40, 12, 3, 2), torch.randn(9, 12, 3, 2)
    model = fitted(train, double=False)
    torch.testing.assert_close(torch.cat([model(part) for part in test.split(2)]), model(test))


def test_more_than_256_matrices_work_with_two_threads() -> None:
    # Batched LU crashes on as many in some CPU builds of torch: a crash must not take this process along.
    program = (
        "import torch\n"
        "torch.set_num_threads(2)\n"
        "from vitad_med.normality.gaussian import GaussianFit\n"
        "torch.manual_seed(0)\n"
        "x = torch.randn(60, 40, 20, 15)\n"
        "fit = GaussianFit()\n"
        "fit.update(x)\n"
        "print(float(fit.finish()(x).square().mean()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # The squared distances of the fitted samples average D (N - 1) / N, a little less with epsilon.
    assert float(done.stdout) == pytest.approx(40 * 59 / 60, rel=0.03)


def test_fewer_images_than_channels_are_said(caplog: pytest.LogCaptureFixture) -> None:
    train = torch.randn(6, 20, 2, 2)
    with caplog.at_level(logging.WARNING):
        model = fitted(train)
    assert "6 images are too few for the covariance of 20 channels" in caplog.text
    assert "jitter" not in caplog.text
    np.testing.assert_allclose(model(train).flatten(1).numpy(), by_scipy(train, train, 0.01), rtol=1e-5)


def test_jitter_is_no_more_than_needed_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    train = torch.randn(6, 20, 2, 2, dtype=torch.float64)
    with caplog.at_level(logging.WARNING):
        model = fitted(train, epsilon=1e-30)
    assert "4 of 4 covariances had no Cholesky factor until jitter" in caplog.text
    assert 0 < float(model.jitter.min()) <= float(model.jitter.max()) < 1e-6
    assert bool(model(train).isfinite().all())


@pytest.mark.parametrize("epsilon", [0.01, 1e-30])
def test_constant_images_give_a_round_gaussian(epsilon: float) -> None:
    train = torch.full((5, 4, 2, 2), 7.0)
    model = fitted(train, epsilon)
    assert float(model(train).max()) == 0
    moved = model(train + 0.5)
    spread = epsilon + float(model.jitter[0])
    torch.testing.assert_close(moved, torch.full_like(moved, (4 * 0.25 / spread) ** 0.5))


def test_one_image_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="1 image has no covariance"):
        fitted(torch.randn(1, 4, 2, 2))
    assert "too few" not in caplog.text


def test_only_matrices_that_need_it_get_jitter() -> None:
    good, singular = torch.eye(3).double() * 4, torch.ones(3, 3).double()
    lower, jitter = factorise(torch.stack([good, singular, good]))
    assert jitter[0] == jitter[2] == 0
    assert jitter[1] > 0
    torch.testing.assert_close(lower[0], torch.eye(3).double() * 2)
    rebuilt = lower[1] @ lower[1].T
    torch.testing.assert_close(rebuilt, singular + jitter[1] * torch.eye(3).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_factors_read_lower_triangles_alone_and_leave_the_matrices_as_they_are(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    mixed = torch.randn(5, 7, 20, dtype=dtype, generator=draw)
    matrices = mixed @ mixed.mT
    given = matrices.tril() + torch.full_like(matrices, torch.nan).triu(1)  # as tiles leave what is above them
    before = given.clone()
    lower, jitter = factorise(given)
    assert lower.dtype == dtype
    assert not bool(jitter.any())
    torch.testing.assert_close(lower, torch.linalg.cholesky(matrices))
    torch.testing.assert_close(given, before, equal_nan=True)


def test_a_pivot_that_is_only_rounding_is_none() -> None:
    """Cholesky goes through, and divides by noise: no info tells."""
    vector = torch.rand(1, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1
    nearly = vector.T @ vector + 1e-15 * torch.eye(30, dtype=torch.float64)
    made = [nearly + 1e-16 * k * torch.eye(30, dtype=torch.float64) for k in range(40)]
    through = [m for m in made if int(torch.linalg.cholesky_ex(m).info) == 0]
    assert through  # else nothing is tested
    _, jitter = factorise(torch.stack(through))
    assert bool((jitter > 0).all())


def test_a_matrix_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="2 covariances have no Cholesky factor even with jitter"):
        factorise(torch.stack([torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, -5.0]]), torch.full((2, 2), torch.nan)]))


def test_other_features_than_those_of_the_fit_are_refused() -> None:
    model = fitted(torch.randn(10, 4, 2, 2))
    for wrong in (torch.randn(1, 5, 2, 2), torch.randn(1, 4, 4, 4)):
        with pytest.raises(ConfigError, match="the model was fitted on 4 on 2 x 2"):
            model(wrong)


@pytest.mark.parametrize("channels", [1, 100, 270])  # one tile on the diagonal, and several
def test_it_follows_to_another_number_format(channels: int) -> None:
    train, test = torch.randn(40, channels, 2, 2), torch.randn(3, channels, 2, 2)
    model = fitted(train, double=False)
    single = model(test)
    double = model.double()(test)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=0)


def test_what_is_made_of_the_factors_goes_with_them() -> None:
    test = torch.randn(3, 6, 2, 2)
    model, other = fitted(torch.randn(40, 6, 2, 2)), fitted(torch.randn(40, 6, 2, 2) * 3 + 1)
    empty = len(pickle.dumps(model))
    parent = torch.nn.Sequential(model)
    model(test)
    assert len(pickle.dumps(model)) == empty
    assert torch.equal(copy.deepcopy(model)(test), model(test))
    parent.load_state_dict(torch.nn.Sequential(other).state_dict())
    assert torch.equal(model(test), other(test))


def test_gradients_flow_to_the_features_whoever_called_before() -> None:
    model = fitted(torch.randn(40, 6, 2, 2))
    with torch.inference_mode():
        model(torch.randn(1, 6, 2, 2))
    test = torch.randn(2, 6, 2, 2, requires_grad=True)
    model(test).sum().backward()
    assert bool((test.grad.abs() > 0).all())


def test_triangles_are_inverted_in_double_precision() -> None:
    draw = torch.Generator().manual_seed(0)
    lower = torch.randn(4, 60, 60, generator=draw).tril(-1) * 0.3 + torch.eye(60)  # its inverse has large entries
    exact = torch.linalg.inv(lower.double())
    found = invert_lower(lower)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact.float(), rtol=0, atol=float(exact.abs().max()) * 1e-7)


def test_half_precision_is_not_factorised() -> None:
    with pytest.raises(RuntimeError, match="Half"):
        factorise(4 * torch.eye(3, dtype=torch.float16)[None])


def test_it_is_made_again_from_its_tensors() -> None:
    train, test = torch.randn(20, 140, 1, 2), torch.randn(2, 140, 1, 2)
    model = fitted(train, double=False)
    again = PositionGaussian.of_tensors(model.state_dict(), model.settings, model.grid, model.channels)
    assert torch.equal(again(test), model(test))
    with pytest.raises(DataError, match="'mean' or 'jitter'"):
        PositionGaussian.of_tensors(model.state_dict(), model.settings, (2, 2), 140)


def test_autocast_does_not_change_distances() -> None:
    train, test = torch.randn(40, 12, 3, 2), torch.randn(2, 12, 3, 2)
    model = fitted(train, double=False)
    with torch.autocast("cpu", torch.bfloat16):
        inside = model(test)
    assert torch.equal(inside, model(test))


@pytest.mark.parametrize("epsilon", [0.0, 0, -0.1, float("nan"), float("inf")])
def test_bad_epsilon_is_refused(epsilon: float) -> None:
    with pytest.raises(ConfigError, match="epsilon is"):
        GaussianFit(epsilon)
