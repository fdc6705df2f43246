"""AnoViT: sizes for any patch, tokens at their places, an output that can reach the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vitad_med.errors import ConfigError, WeightsError
from vitad_med.networks.anovit import AnoViT, Decoder
from vitad_med.networks.autoencoder import ConvAutoencoder
from vitad_med.networks.state import load_model, save_model
from vitad_med.networks.weights import EMBEDDED

THIN = (8, 8, 8, 8, 8)


@pytest.fixture(scope="module")
def network() -> AnoViT:
    torch.manual_seed(0)
    return AnoViT(weights="none", image_size=32, widths=THIN).eval()


@pytest.mark.parametrize(
    ("architecture", "size", "strides"),
    [
        ("vit_tiny_patch16_224", 224, (2, 2, 2, 1, 1, 1)),
        ("vit_tiny_patch16_224", 384, (2, 2, 2, 1, 1, 1)),
        ("vit_tiny_patch16_224", 64, (2, 2, 2, 2, 1, 1)),
        ("vit_tiny_patch16_224", 64, (1, 1, 1, 1, 1, 1)),
        ("vit_small_patch14_reg4_dinov2", 70, (2, 2, 2, 1, 1, 1)),
        ("vit_small_patch32_224", 96, (2, 2, 2, 1, 1, 1)),
        ("vit_small_patch8_224", 40, (2, 2, 2, 1, 1, 1)),
    ],
)
@torch.no_grad()
def test_reconstructions_have_the_size_of_the_images(architecture: str, size: int, strides: tuple[int, ...]) -> None:
    network = AnoViT(architecture, "none", size, channels=3, widths=THIN, strides=strides).eval()
    images = torch.rand(1, 3, size, size)
    assert network.reconstruct(images).shape == network.target(images).shape == images.shape
    assert network(images).shape == (1, 1, size, size)


@torch.no_grad()
def test_another_size_than_that_of_training_works_and_need_not_be_square(network: AnoViT) -> None:
    images = torch.rand(2, 1, 48, 64)
    assert network.reconstruct(images).shape == images.shape
    score, anomaly_map = network.predict(images)
    assert score.shape == (2,)
    assert anomaly_map.shape == images.shape


@torch.no_grad()
def test_tokens_lie_where_their_patches_lie(network: AnoViT) -> None:
    images = torch.rand(1, 1, 48, 64)
    folded = network.patch_features(images)
    assert folded.shape == (1, 192, 3, 4)
    tokens = network.encoder.forward_features((images.expand(-1, 3, -1, -1) - network.mean) / network.std)
    for row, column in ((0, 0), (1, 2), (2, 3)):
        torch.testing.assert_close(folded[0, :, row, column], tokens[0, 1 + 4 * row + column])


@torch.no_grad()
def test_registers_are_no_patches() -> None:
    network = AnoViT("vit_small_patch14_reg4_dinov2", "none", 28, widths=(4,), strides=(2, 1)).eval()
    images = torch.rand(1, 1, 28, 28)
    tokens = network.encoder.forward_features((images.expand(-1, 3, -1, -1) - network.mean) / network.std)
    assert tokens.shape[1] == 4 + 5
    torch.testing.assert_close(network.patch_features(images)[0, :, 1, 0], tokens[0, 5 + 2])


def test_the_published_decoder_is_six_blocks() -> None:
    decoder = Decoder(192, 1)
    layers = [layer for layer in decoder.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in layers] == [512, 256, 128, 64, 32, 1]
    assert [layer.stride[0] for layer in layers] == [2, 2, 2, 1, 1, 1]
    assert sum(isinstance(layer, nn.ReLU) for layer in decoder.modules()) == 5  # the sixth: `final_relu`


@torch.no_grad()
def test_what_the_blocks_leave_is_enlarged_bilinearly() -> None:
    torch.manual_seed(0)
    decoder = Decoder(4, 1, (8,), (2, 1), final_relu=False)
    features = torch.randn(1, 4, 3, 3)
    small, large = decoder(features, (6, 6))[0, 0].numpy(), decoder(features, (12, 12))[0, 0].numpy()
    # The centre of a pixel lies at (i + 1/2) / 2 - 1/2 of the small image, whose borders go on as they are.
    at = (np.arange(12) + 0.5) / 2 - 0.5
    columns = np.stack([np.interp(at, np.arange(6), row) for row in small])
    expected = np.stack([np.interp(at, np.arange(6), column) for column in columns.T], axis=1)
    np.testing.assert_allclose(large, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(large - small.repeat(2, axis=0).repeat(2, axis=1)).max() > 0.01  # the nearest are others


@torch.no_grad()
def test_only_without_the_last_relu_outputs_turn_negative() -> None:
    features = 5 * torch.randn(2, 4, 6, 6)
    kept, left_out = Decoder(4, 1, (8,), (2, 1)), Decoder(4, 1, (8,), (2, 1), final_relu=False)
    for decoder in (kept, left_out):
        decoder.last.weight.mul_(20)
    left_out.load_state_dict(kept.state_dict())
    with_relu, without = kept(features, (24, 24)), left_out(features, (24, 24))
    assert float(without.min()) < 0
    assert float(with_relu.min()) == 0
    assert float(with_relu.max()) > 0


@torch.no_grad()
def test_it_begins_grey_so_that_the_last_relu_passes_gradients() -> None:
    for strides in ((2, 2, 2, 1, 1, 1), (2, 2, 2, 2, 1, 1)):
        image = Decoder(192, 1, strides=strides)(torch.randn(1, 192, 6, 6), (96, 96))
        assert float(image.min()) > 0
        assert float(image.mean()) == pytest.approx(0.5, abs=0.1)
        assert 0.01 < float(image.std()) < 0.3  # signals neither fade nor blow up over six blocks


def test_every_parameter_learns(network: AnoViT) -> None:
    # Stochastic gradients exchanged between processes need each of them.
    images = torch.rand(2, 1, 32, 32)
    (network.reconstruct(images) - images).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    network.zero_grad()
    # A key's bias moves all scores of a query alike, which softmax does not see; it shares a tensor with the others.
    assert without == []


@torch.no_grad()
def test_mixed_precision_does_not_coarsen_the_image(network: AnoViT) -> None:
    images = torch.rand(1, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        image = network.reconstruct(images)
    assert image.dtype == torch.float32
    assert not torch.equal(image, image.bfloat16().float())


@torch.no_grad()
def test_the_input_normalisation_is_that_of_the_weights() -> None:
    embedded = AnoViT(image_size=32, widths=THIN)
    assert EMBEDDED.startswith("vit_tiny")
    normalised = embedded.patch_features(torch.full((1, 1, 32, 32), 0.4))
    by_hand = embedded.encoder.forward_features(((0.4 - embedded.mean) / embedded.std).expand(1, 3, 32, 32))
    torch.testing.assert_close(normalised.flatten(2)[0].T, by_hand[0, 1:])


def test_it_exports_with_any_number_of_images(network: AnoViT) -> None:
    batch = torch.export.Dim("batch", min=1, max=8)
    exported = torch.export.export(network, (torch.rand(2, 1, 32, 32),), dynamic_shapes=({0: batch},))
    images = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(images), network(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": (2, 2, 2, 2, 2, 1)}, "enlarge 32 times, more than the patch size 16"),
        ({"strides": (2, 2, 2)}, "one for each of the 5 widths, one for the image"),
        ({"strides": (3, 2, 1, 1, 1, 1)}, "must be 1 or 2"),
        ({"widths": (512, 0, 1, 1, 1)}, "widths .* must be whole numbers of at least 1"),
        ({"widths": ()}, "widths .* must be whole numbers"),
        ({"image_size": 40}, "no multiple of the patch size 16"),
        ({"architecture": "resnet18"}, "no timm vision transformer"),
    ],
)
def test_mistakes_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AnoViT(**{"weights": "none", "image_size": 32, **options})  # type: ignore[arg-type]


def test_images_that_patches_do_not_tile_are_refused(network: AnoViT) -> None:
    with pytest.raises(ConfigError, match="multiple of the patch size"):
        network.predict(torch.rand(1, 1, 40, 40))


def test_a_model_is_read_with_any_smoothing(network: AnoViT, tmp_path) -> None:
    save_model(tmp_path / "model.pt", network, torch.float32)
    other = AnoViT(weights="none", image_size=32, widths=THIN, smoothing=1.0, error="mean_squared").eval()
    load_model(tmp_path / "model.pt", other)
    images = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(other.reconstruct(images), network.reconstruct(images))


@pytest.mark.parametrize("stored_is_cae", [True, False])
def test_weights_of_the_other_model_are_told_by_its_key(network: AnoViT, tmp_path, stored_is_cae: bool) -> None:
    pair = (ConvAutoencoder(image_size=32), network)
    stored, asked = pair if stored_is_cae else pair[::-1]
    save_model(tmp_path / "model.pt", stored)
    with pytest.raises(WeightsError, match=r"another network, .* set model as in its training .*'anovit' or 'l2_cae'"):
        load_model(tmp_path / "model.pt", asked)
