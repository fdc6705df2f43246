"""What is put differently in an exported graph gives what the original gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitad_med.engines.multiscale import MultiScaleInferer
from vitad_med.errors import ConfigError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.normality.gaussian import GaussianFit
from vitad_med.scoring.backends import graph
from vitad_med.scoring.backends.graph import ExactInstanceNorm, GraphMultiScale, WhitenedGaussian


@pytest.mark.parametrize("affine", [True, False])
def test_instance_norm(affine: bool) -> None:
    norm = nn.InstanceNorm2d(3, affine=affine)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = 5 * torch.rand(2, 3, 6, 9, dtype=torch.float64) + 2
    torch.testing.assert_close(ExactInstanceNorm(norm).double()(x), norm.double()(x), rtol=0, atol=1e-12)
    assert (ExactInstanceNorm(norm)(x[:, :, :1, :1]) == x[:, :, :1, :1]).all()


def test_gaussian_without_triangular_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = GaussianFit(epsilon=0.01)
    features = torch.randn(60, 150, 3, 2) @ torch.diag(torch.tensor([1.0, 4.0]))  # more channels than one tile
    fit.update(features)
    model = fit.finish()
    new = torch.randn(5, 150, 3, 2)
    expected = model(new)
    torch.testing.assert_close(WhitenedGaussian(model)(new), expected, rtol=1e-4, atol=0)
    assert expected.std() > 1
    monkeypatch.setattr(graph, "LARGEST", 1000)
    with pytest.raises(ConfigError, match="150 channels at 6 positions is too large"):
        WhitenedGaussian(model)


@pytest.mark.parametrize("average", ["probability", "scaled_attention"])
def test_several_sizes(average: str) -> None:
    network = ProxyNetwork("test_vit", "none", 64, head_hidden=16, detail_width=4).eval()
    nn.init.normal_(network.encoder.pos_embed, std=1.0)
    inferer = MultiScaleInferer((64, 48, 32), map_average=average)
    images = torch.rand(3, 1, 64, 64)
    expected = inferer(images, network)
    found = GraphMultiScale(inferer, network, 64)(images, network)
    torch.testing.assert_close(found.map, expected.map, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.score, expected.score, rtol=0, atol=1e-6)
