"""l2-CAE: the published table of layers, its latent vector at any size, and the size that it sees."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitad_med.data.image_io import resize
from vitad_med.errors import ConfigError
from vitad_med.networks.autoencoder import ConvAutoencoder

# Bergmann et al., VISAPP 2019, Table 1: size after the layer, kernel, stride, padding.
TABLE = [
    ((32, 64, 64), 4, 2, 1),
    ((32, 32, 32), 4, 2, 1),
    ((32, 32, 32), 3, 1, 1),
    ((64, 16, 16), 4, 2, 1),
    ((64, 16, 16), 3, 1, 1),
    ((128, 8, 8), 4, 2, 1),
    ((64, 8, 8), 3, 1, 1),
    ((32, 8, 8), 3, 1, 1),
    ((100, 1, 1), 8, 1, 0),
]


def described(part: nn.Sequential, x: torch.Tensor) -> list[tuple[tuple[int, ...], int, int, int]]:
    found = []
    for layer in part:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            size = (tuple(x.shape[1:]), layer.kernel_size[0], layer.stride[0], layer.padding[0])
            found.append(size)  # type: ignore[arg-type]
    return found


@torch.no_grad()
def test_layers_are_those_of_the_table_and_their_mirror_image() -> None:
    network = ConvAutoencoder()
    assert described(network.encoder, torch.rand(1, 1, 128, 128)) == TABLE
    mirrored = described(network.decoder, torch.rand(1, 100, 1, 1))
    assert [row[1:] for row in mirrored] == [row[1:] for row in reversed(TABLE)]
    sizes = [(1, 128, 128), *(row[0] for row in TABLE[:-1])]
    assert [row[0] for row in mirrored] == list(reversed(sizes))


def test_every_layer_but_latent_and_output_has_its_leaky_relu() -> None:
    network = ConvAutoencoder()
    for part in (network.encoder, network.decoder):
        kinds = [isinstance(layer, nn.LeakyReLU) for layer in part]
        assert kinds == [False, True] * 8 + [False]
        assert {layer.negative_slope for layer in part if isinstance(layer, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize(("cae_input", "size", "seen"), [(128, 224, 128), (128, 100, 128), ("same", 96, 96)])
@torch.no_grad()
def test_what_it_sees_and_what_is_scored(cae_input, size: int, seen: int) -> None:
    network = ConvAutoencoder(size, channels=3, cae_input=cae_input)
    images = torch.rand(2, 3, size, size)
    assert network.target(images).shape == network.reconstruct(images).shape == (2, 3, seen, seen)
    torch.testing.assert_close(network.target(images), resize(images, seen))
    assert network.encode(images).shape == (2, 100)
    score, anomaly_map = network.predict(images)
    assert score.shape == (2,)
    assert anomaly_map.shape == (2, 1, size, size)


@torch.no_grad()
def test_it_begins_as_a_grey_image_of_some_contrast() -> None:
    image = ConvAutoencoder().reconstruct(torch.rand(4, 1, 128, 128))
    assert float(image.mean()) == pytest.approx(0.5, abs=0.15)
    assert 0.02 < float(image.std()) < 0.6


def test_mistakes_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="cae_input 256 is unknown: use 128 or 'same'"):
        ConvAutoencoder(cae_input=256)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="image_size 100 is no multiple of 16"):
        ConvAutoencoder(100, cae_input="same")
