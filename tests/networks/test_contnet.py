"""ConTNet-B: the published shapes and size, which values a patch encoder lets meet, and the sizes that are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

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


def plain_encoder(made: PatchEncoder, features: Tensor, pre_norm: bool) -> Tensor:
    """By the formulas, one patch, head and query at a time; rows in the first half of the channels, columns in the
    second, GELU by the error function."""
    side, heads, out = made.patch, made.heads, torch.empty_like(features)
    batch, width, height, breadth = features.shape

    def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias

    def attend(x: Tensor) -> Tensor:
        packed = x @ made.query_key_value.weight.T + made.query_key_value.bias
        parts = []
        for head in range(heads):
            span = width // heads
            query, key, value = (
                packed[:, third * width + head * span : third * width + (head + 1) * span] for third in range(3)
            )
            parts.append(((query @ key.T) / span**0.5).softmax(dim=-1) @ value)
        return torch.cat(parts, dim=-1) @ made.project.weight.T + made.project.bias

    def mlp(x: Tensor) -> Tensor:
        hidden = x @ made.expand.weight.T + made.expand.bias
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        return hidden @ made.contract.weight.T + made.contract.bias

    for image in range(batch):
        for top in range(0, height, side):
            for left in range(0, breadth, side):
                tokens = torch.stack([features[image, :, top + r, left + c] for r in range(side) for c in range(side)])
                for r in range(side):
                    for c in range(side):
                        tokens[r * side + c, : width // 2] += made.row_embedding[r, 0]
                        tokens[r * side + c, width // 2 :] += made.column_embedding[0, c]
                if pre_norm:
                    tokens = tokens + attend(norm(made.norm_attention, tokens))
                    tokens = tokens + mlp(norm(made.norm_mlp, tokens))
                else:
                    tokens = norm(made.norm_attention, tokens + attend(tokens))
                    tokens = norm(made.norm_mlp, tokens + mlp(tokens))
                for r in range(side):
                    for c in range(side):
                        out[image, :, top + r, left + c] = tokens[r * side + c]
    return out


@torch.no_grad()
@pytest.mark.parametrize("pre_norm", [False, True])
def test_an_encoder_is_what_the_formulas_say(pre_norm: bool) -> None:
    made = encoder(pre_norm=pre_norm)
    features = torch.randn(2, 8, 14, 7)
    torch.testing.assert_close(made(features), plain_encoder(made, features, pre_norm), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize(("out_width", "stride"), [(8, 1), (16, 2)])
def test_a_block_is_what_the_formulas_say(pre_norm: bool, out_width: int, stride: int) -> None:
    torch.manual_seed(4)
    block = ConTBlock(8, out_width, stride, (7, 14), 16, 2, 0.0, "absolute", pre_norm, False).eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    block.norm.running_mean.normal_()  # type: ignore[union-attr]
    block.norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    features = torch.randn(1, 8, 14, 14)

    def column(values: Tensor | None) -> Tensor:
        assert values is not None
        return values[:, None, None]

    norm = block.norm
    deviation = (column(norm.running_var) + 1e-5).sqrt()
    activated = (features - column(norm.running_mean)) / deviation * column(norm.weight) + column(norm.bias)
    activated = activated.clamp(min=0)
    first, second = block.encoders
    mixed = plain_encoder(second, plain_encoder(first, activated, pre_norm), pre_norm)  # type: ignore[arg-type]
    expected = nn.functional.conv2d(mixed, block.mix.weight, stride=stride, padding=1)
    if block.shortcut is None:
        expected = expected + features
    else:
        weight = block.shortcut.weight[:, :, 0, 0]
        expected = expected + torch.einsum("oi,bihw->bohw", weight, activated[..., ::stride, ::stride])
    torch.testing.assert_close(block(features), expected, rtol=1e-4, atol=1e-3)


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
