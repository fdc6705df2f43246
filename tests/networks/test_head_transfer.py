"""The head of pre-training starts the proxy task's head, all but its last layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitad_med.checkpoint import save_safetensors
from vitad_med.errors import WeightsError
from vitad_med.networks.distillation import DistillationNetwork
from vitad_med.networks.head_transfer import transfer_head
from vitad_med.networks.proxy import ProxyNetwork


def pretrained(path: Path, hidden: int = 16, batch_norm: bool = False) -> DistillationNetwork:
    torch.manual_seed(1)
    network = DistillationNetwork(
        image_size=32, prototypes=20, head_hidden=hidden, head_bottleneck=8, head_batch_norm=batch_norm
    )
    state = dict(network.encoder.state_dict())
    state |= {f"head.trunk.{name}": value for name, value in network.head.trunk.state_dict().items()}
    save_safetensors(path, state, {"mean": "[0.5, 0.5, 0.5]", "std": "[0.25, 0.25, 0.25]"})
    return network


def proxy(weights: str) -> ProxyNetwork:
    torch.manual_seed(2)
    return ProxyNetwork(weights=weights, image_size=32, head_hidden=16, head_bottleneck=8)


def test_encoder_and_head_come_from_one_file(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    source = pretrained(path)
    network = proxy(str(path))
    last = network.head.last.weight.clone()
    untouched = network.head.trunk[0].weight.clone()
    assert torch.equal(transfer_head(network, str(path), False).head.trunk[0].weight, untouched)
    assert transfer_head(network, str(path), True) is network
    for own, theirs in zip(network.head.trunk.parameters(), source.head.trunk.parameters(), strict=True):
        assert torch.equal(own, theirs)
    assert torch.equal(network.head.last.weight, last)
    assert torch.equal(network.encoder.pos_embed, source.encoder.pos_embed)


@pytest.mark.parametrize("given", [{"hidden": 24}, {"batch_norm": True}])
def test_a_head_of_another_shape_is_refused(tmp_path: Path, given: dict) -> None:
    path = tmp_path / "encoder.safetensors"
    pretrained(path, **given)
    with pytest.raises(WeightsError, match=r"head_hidden 16 and without head_batch_norm, or set transfer_head"):
        transfer_head(proxy("none"), str(path), True)


@pytest.mark.parametrize("weights", ["embedded", "none", "absent.safetensors"])
def test_weights_without_a_head_are_refused(weights: str) -> None:
    with pytest.raises(WeightsError, match=f"weights '{weights}' hold no head of pre-training"):
        transfer_head(proxy("none"), weights, True)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="no readable safetensors file"):
        transfer_head(proxy("none"), str(path), True)
