"""The proxy network: shapes, the aggregation's meaning, and where gradients go."""

from __future__ import annotations

import pytest
import torch

from vitad_med.errors import ConfigError, WeightsError
from vitad_med.networks.proxy import HeadAggregator, ProxyNetwork
from vitad_med.networks.state import load_model, save_model


@pytest.fixture(scope="module")
def network() -> ProxyNetwork:
    torch.manual_seed(0)
    return ProxyNetwork(weights="none", image_size=32, head_hidden=16, head_bottleneck=8).eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (64, 32)])
def test_output_shapes_and_ranges(network: ProxyNetwork, channels: int, size: tuple[int, int]) -> None:
    images = torch.rand(2, channels, *size)
    output = network.predict(images)
    assert output.score.shape == (2,)
    assert output.map.shape == (2, 1, *size)
    for values in output:
        assert float(values.min()) >= 0
        assert float(values.max()) <= 1
    assert torch.equal(network(images), output.map)


def test_grey_equals_its_three_channel_copy(network: ProxyNetwork) -> None:
    grey = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(network(grey), network(grey.expand(-1, 3, -1, -1)))


def test_wrong_sizes_and_channels_are_refused(network: ProxyNetwork) -> None:
    with pytest.raises(ConfigError, match="multiple of the patch size"):
        network.predict(torch.rand(1, 1, 40, 40))
    with pytest.raises(ConfigError, match="2 channels"):
        network.predict(torch.rand(1, 2, 32, 32))


@pytest.mark.parametrize("aggregate", ["learned", "mean", "best_head"])
def test_uniform_attention_gives_the_prior_area_at_every_resolution(aggregate: str) -> None:
    aggregator = HeadAggregator(3, aggregate, prior_area=0.1)  # type: ignore[arg-type]
    for tokens in (36, 196, 1024):
        probability = aggregator(torch.full((1, 3, tokens), 1 / tokens)).sigmoid()
        torch.testing.assert_close(probability, torch.full((1, tokens), 0.1))


def test_best_head_takes_one_head_and_still_learns() -> None:
    aggregator = HeadAggregator(3, "best_head")
    with torch.no_grad():
        aggregator.weight_logits.copy_(torch.tensor([0.0, 2.0, 1.0]))
    assert aggregator.head_weights().tolist() == [0.0, 1.0, 0.0]
    (aggregator(torch.rand(1, 3, 4)).sum()).backward()
    assert float(aggregator.weight_logits.grad.abs().sum()) > 0
    assert not HeadAggregator(3, "mean").weight_logits.requires_grad


def test_higher_attention_never_lowers_the_map() -> None:
    aggregator = HeadAggregator(2)
    with torch.no_grad():
        aggregator.slope_raw.fill_(-5.0)
    low, high = torch.full((1, 2, 4), 0.1), torch.full((1, 2, 4), 0.2)
    assert bool((aggregator(high) > aggregator(low)).all())


@pytest.mark.parametrize("detach", [True, False])
def test_map_gradient_reaches_the_encoder_only_when_not_detached(detach: bool) -> None:
    network = ProxyNetwork(weights="none", image_size=32, head_hidden=16, head_bottleneck=8, detach_maps=detach)
    network.train_outputs(torch.rand(1, 1, 32, 32)).map_logits.square().sum().backward()
    assert network.aggregator.offset.grad is not None
    reached = network.encoder.patch_embed.proj.weight.grad is not None
    assert reached is not detach


def test_saved_model_loads_and_another_architecture_is_refused(network: ProxyNetwork, tmp_path) -> None:
    digest = save_model(tmp_path / "model.pt", network)
    other = ProxyNetwork(weights="none", image_size=32, head_hidden=16, head_bottleneck=8)
    assert load_model(tmp_path / "model.pt", other) == digest
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(other.eval().predict(images).map, network.predict(images).map, atol=1e-3, rtol=0)
    wider = ProxyNetwork(weights="none", image_size=32, head_hidden=32, head_bottleneck=8)
    with pytest.raises(WeightsError, match=r"model.pt' does not fit this network: 'head.trunk"):
        load_model(tmp_path / "model.pt", wider)
    larger = ProxyNetwork(weights="none", image_size=64, head_hidden=16, head_bottleneck=8)
    with pytest.raises(WeightsError, match="another image size: it has 5 position embeddings, this network 17; set"):
        load_model(tmp_path / "model.pt", larger)
