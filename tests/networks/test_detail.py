"""The detail stem: it starts as nothing, sees what a patch embedding cannot, and fits every patch grid it accepts."""

from __future__ import annotations

import pytest
import torch

from vitad_med.errors import ConfigError
from vitad_med.networks.detail import DetailStem
from vitad_med.networks.proxy import ProxyNetwork


def network(detail_width: int) -> ProxyNetwork:
    torch.manual_seed(0)
    return ProxyNetwork(
        weights="none", image_size=32, head_hidden=16, head_bottleneck=8, detail_width=detail_width
    ).eval()


@pytest.mark.parametrize("patch", [4, 8, 16, 32])
def test_the_grid_is_that_of_the_patches(patch: int) -> None:
    added, evidence = DetailStem(2, 12, patch)(torch.randn(2, 3, 4 * patch, 2 * patch))
    assert added.shape == (2, 4, 2, 12)
    assert evidence.shape == (2, 1, 4, 2)


def test_an_image_of_one_patch_passes() -> None:
    stem = DetailStem(2, 12, 16)
    added, evidence = stem(torch.randn(2, 3, 16, 16))
    assert added.shape == (2, 1, 1, 12)
    evidence.sum().backward()


def test_before_training_the_network_is_the_plain_one() -> None:
    plain, detailed = network(0), network(4)
    shared = plain.state_dict()
    assert any(name.startswith("detail.") for name in detailed.state_dict())
    detailed.load_state_dict(shared, strict=False)
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(detailed.predict(images).map, plain.predict(images).map)
    assert torch.equal(detailed.predict(images).score, plain.predict(images).score)


def test_an_image_is_scored_alike_whatever_shares_its_batch() -> None:
    detailed = network(4)
    torch.nn.init.normal_(detailed.detail.project.weight)  # type: ignore[union-attr]
    images = torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(detailed.predict(images).map[:1], detailed.predict(images[:1]).map)


def test_the_auxiliary_loss_reaches_the_convolutions_at_once() -> None:
    detailed = network(4)
    tokens = detailed.train_outputs(torch.rand(2, 1, 32, 32)).token_logits
    assert tokens.shape == (2, 2, 2, 2)
    tokens[:, 1].square().sum().backward()
    assert detailed.detail is not None
    assert float(detailed.detail.convolutions[0].weight.grad.abs().sum()) > 0  # type: ignore[union-attr, operator]


def test_refusals_name_the_key() -> None:
    with pytest.raises(ConfigError, match="detail_width needs patches"):
        DetailStem(4, 12, 14)
    with pytest.raises(ConfigError, match="detail_width -1"):
        DetailStem(-1, 12, 16)
