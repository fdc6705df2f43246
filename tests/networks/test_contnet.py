"""ConTNet-B: the published shapes and size, which values a patch encoder lets meet, and the sizes that are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitad_med.errors import ConfigError
from vitad_med.networks.contnet import ConTBlock, ConTNet, PatchEncoder, Position


@pytest.fixture(scope="module")
def network() -> ConTNet:
    torch.manual_seed(0)
    return ConTNet(1000).eval()


def encoder(position: Position = "absolute", pre_norm: bool = False) -> PatchEncoder:
    torch.manual_seed(1)
    made = PatchEncoder(8, 16, 2, 7, position=position, pre_norm=pre_norm).eval()
    for parameter in made.parameters():  # embeddings and biases start at 0, where they would show nothing
        torch.nn.init.normal_(parameter, std=0.5)
    return made


VARIANTS = [(p, n) for p in ("absolute", "relative") for n in (False, True)]


def test_size_is_the_published_one(network: ConTNet) -> None:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == pytest.approx(36.04e6, rel=0.001)


@torch.no_grad()
def test_shapes_of_every_stage(network: ConTNet) -> None:
    features = network.features(torch.rand(2, 3, 224, 224))
    entering = [(64, 56), (128, 28), (256, 14), (512, 7)]
    leaving = [(128, 28), (256, 14), (512, 7), (1024, 7)]
    assert [tuple(f.shape) for f in features.pre_transition] == [(2, c, s, s) for c, s in entering]
    assert [tuple(f.shape) for f in features.output] == [(2, c, s, s) for c, s in leaving]


@torch.no_grad()
def test_the_stem_has_no_norm_and_no_activation(network: ConTNet) -> None:
    images = torch.rand(1, 3, 224, 224)
    first = next(network.stages[0].children())
    seen: list[Tensor] = []
    handle = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.features(images)
    handle.remove()
    weight = network.stem.weight
    assert weight.shape == (64, 3, 7, 7)
    stem = torch.nn.functional.conv2d(images, weight, stride=2, padding=3)
    torch.testing.assert_close(seen[0], torch.nn.functional.max_pool2d(stem, 3, 2, 1))
    assert float(seen[0].min()) < 0


def test_patches_heads_and_dropout_of_each_stage(network: ConTNet) -> None:
    found = []
    for stage in network.stages:
        encoders = [list(block.encoders) for block in stage.children()]
        assert all([e.patch for e in of_block] == [e.patch for e in encoders[0]] for of_block in encoders)
        first, second = encoders[0]
        found.append(((first.patch, second.patch), first.heads, first.dropout))
    assert found == [((7, 14), 1, 0.0), ((7, 14), 2, 0.0), ((7, 14), 4, 0.1), ((7, 7), 8, 0.1)]
    # The last convolution is 1 x 1, and what leaves it is dropped more.
    drops = [block.drop.p for stage in network.stages for block in stage.children()]
    assert drops == [0.0] * 15 + [0.2]


@torch.no_grad()
def test_a_multiple_of_224_works_and_images_are_independent(network: ConTNet) -> None:
    images = torch.rand(2, 3, 224, 224)
    logits = network(images)
    assert logits.shape == (2, 1000)
    torch.testing.assert_close(network(images[1:]), logits[1:], rtol=1e-3, atol=1e-4)
    wide = network.features(torch.rand(1, 3, 224, 448))
    assert wide.output[-1].shape == (1, 1024, 7, 14)


@pytest.mark.parametrize(("size", "nearest"), [(256, 224), (112, 224), (400, 448)])
def test_other_sizes_are_refused(network: ConTNet, size: int, nearest: int) -> None:
    with pytest.raises(ConfigError, match=rf"image_size {size} is no multiple of 224.*use {nearest}$"):
        network.features(torch.rand(1, 3, size, size))


@torch.no_grad()
@pytest.mark.parametrize(("position", "pre_norm"), VARIANTS)
def test_nothing_leaks_across_patches(position: Position, pre_norm: bool) -> None:
    made = encoder(position, pre_norm)
    features = torch.randn(1, 8, 21, 14)
    changed = features.clone()
    changed[0, :, 8, 3] += torch.randn(8)  # in the patch of rows 7 to 13 and columns 0 to 6
    difference = (made(changed) - made(features)).abs().sum(dim=1)[0]
    inside = difference[7:14, :7]
    assert float(inside.min()) > 0  # every cell of the patch sees it
    inside.zero_()
    assert float(difference.max()) == 0


@torch.no_grad()
@pytest.mark.parametrize(("position", "pre_norm"), VARIANTS)
def test_patches_in_another_order_give_results_in_that_order(position: Position, pre_norm: bool) -> None:
    made = encoder(position, pre_norm)
    features = torch.randn(2, 8, 14, 14)

    def swapped(x: Tensor) -> Tensor:
        return x.roll((7, 7), dims=(2, 3))

    torch.testing.assert_close(made(swapped(features)), swapped(made(features)))
    # By less than a patch the same cells meet in other patches.
    moved = features.roll(1, dims=3)
    assert not torch.allclose(made(moved), made(features).roll(1, dims=3), atol=1e-2)


@torch.no_grad()
def test_position_matters_inside_a_patch() -> None:
    flipped = {}
    for position in ("absolute", "relative"):
        made = encoder(position)
        features = torch.randn(1, 8, 7, 7)
        flipped[position] = (made(features.flip(3)) - made(features).flip(3)).abs().max()
        for name, parameter in made.named_parameters():
            if "embedding" in name or "offset_bias" in name:
                parameter.zero_()
        torch.testing.assert_close(made(features.flip(3)), made(features).flip(3))
    assert min(flipped.values()) > 0.01


@torch.no_grad()
def test_relative_bias_follows_the_offset_of_query_and_key() -> None:
    made = encoder("relative")
    bias = made.offset_bias[made.offsets][..., 0].reshape(7, 7, 7, 7)  # query row, column, key row, column
    assert bias[2, 3, 1, 5] == bias[5, 1, 4, 3]
    assert bias[2, 3, 1, 5] != bias[1, 5, 2, 3]
    assert len(made.offsets.unique()) == 13**2


@torch.no_grad()
def test_shortcuts() -> None:
    torch.manual_seed(2)
    features = torch.randn(1, 8, 14, 14)
    plain = ConTBlock(8, 8, 1, (7, 14), 16, 2, 0.0, "absolute", False, False).eval()
    plain.mix.weight.zero_()
    torch.testing.assert_close(plain(features), features)
    for pooled in (False, True):
        halving = ConTBlock(8, 16, 2, (7, 14), 16, 2, 0.0, "absolute", False, pooled).eval()
        halving.mix.weight.zero_()
        assert halving.shortcut is not None
        activated = torch.relu(halving.norm(features))
        kept = torch.nn.functional.avg_pool2d(activated, 2) if pooled else activated[..., ::2, ::2]
        expected = torch.einsum("oi,bihw->bohw", halving.shortcut.weight[:, :, 0, 0], kept)
        torch.testing.assert_close(halving(features), expected)
    widening = ConTBlock(8, 16, 1, (7, 7), 16, 2, 0.0, "absolute", False, False).eval()
    assert widening.mix.weight.shape == (16, 8, 1, 1)


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(3)
    made = PatchEncoder(8, 16, 2, 7, dropout=0.5)
    features = torch.randn(1, 8, 7, 7)
    assert not torch.equal(made(features), made(features))
    made.eval()
    assert torch.equal(made(features), made(features))


def test_unknown_position_is_refused() -> None:
    with pytest.raises(ConfigError, match="position 'sine' is unknown"):
        PatchEncoder(8, 16, 2, 7, position="sine")  # type: ignore[arg-type]
