"""Attention entropy per token: its value from timm's own attention, its gradients numerically, its parts in bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import entr
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vitad_med.networks.attention_entropy import attention_entropy, row_entropy
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.vit import VisionTransformer, encode, use_fused_attention

OPTIONS = {
    "plain": {},
    "registers": {"reg_tokens": 4},
    "qk-norm": {"qk_norm": True},
    "no-bias": {"qkv_bias": False},
}
WEIGHTS = torch.tensor([0.7, 0.3], dtype=torch.float64)


def tiny_vit(**options: Any) -> VisionTransformer:
    """Two blocks of two heads, in float64; 16 patches of an image of 32 px."""
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=0, dynamic_img_size=True, **options
    )
    # Larger than timm's initial weights, under which all attention is nearly even.
    with torch.no_grad():
        vit.blocks[-1].attn.qkv.weight.mul_(20)
    return vit.eval().double()


def images_of(batch: int = 2, size: int = 32) -> Tensor:
    return torch.randn(batch, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def entering(vit: VisionTransformer, images: Tensor) -> Tensor:
    return encode(vit, images).entering


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_equals_a_plain_computation_on_timms_own_attention(
    options: dict[str, Any], size: int, renormalise: bool
) -> None:
    vit = tiny_vit(**options)
    images = images_of(size=size)
    caught: list[Tensor] = []
    hook = vit.blocks[-1].attn.attn_drop.register_forward_hook(lambda _, __, output: caught.append(output))
    use_fused_attention(vit, False)
    with torch.no_grad():
        vit.forward_features(images)
        hook.remove()
        use_fused_attention(vit, True)
        found = attention_entropy(vit, entering(vit, images), WEIGHTS, renormalise=renormalise).numpy()
    prefix = vit.num_prefix_tokens
    whole = np.einsum("h,bhqk->bqk", WEIGHTS.numpy(), caught[0].numpy())
    patches = whole[:, prefix:, prefix:]
    if renormalise:
        patches = patches / patches.sum(axis=-1, keepdims=True)
    assert found.shape == (2, (size // 8) ** 2)
    np.testing.assert_allclose(found, entr(patches).sum(axis=-1), rtol=0, atol=1e-9)
    assert found.std() > 0.01


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_even_attention(options: dict[str, Any], renormalise: bool) -> None:
    vit = tiny_vit(**options)
    attention = vit.blocks[-1].attn
    with torch.no_grad():
        for part in (attention.qkv.weight, attention.qkv.bias):
            if part is not None:
                part[:16] = 0  # no query prefers any key
        entropy = attention_entropy(vit, entering(vit, images_of()), WEIGHTS, renormalise=renormalise)
    share = 16 / (16 + vit.num_prefix_tokens)
    expected = math.log(16) if renormalise else -share * math.log(share / 16)
    torch.testing.assert_close(entropy, torch.full_like(entropy, expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("chunk_elements", [1, 1 << 20])
def test_gradients_of_the_last_block_are_right(renormalise: bool, chunk_elements: int) -> None:
    vit = tiny_vit(reg_tokens=1)
    tokens = entering(vit, images_of(batch=1)).detach()[:, :8].requires_grad_()
    norm = vit.blocks[-1].norm1
    scale, offset = (value.detach().clone().requires_grad_() for value in (norm.weight, norm.bias))

    def entropy(tokens: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        vit.blocks[-1].norm1 = Affine(scale, offset)
        return attention_entropy(vit, tokens, WEIGHTS, renormalise=renormalise, chunk_elements=chunk_elements)

    assert torch.autograd.gradcheck(entropy, (tokens, scale, offset))


class Affine(nn.Module):
    """A layer norm whose parameters are handed in, so that they can be differentiated numerically."""

    def __init__(self, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, tokens: Tensor) -> Tensor:
        return nn.functional.layer_norm(tokens, tokens.shape[-1:], self.scale, self.offset, 1e-6)


def test_gradients_through_the_whole_encoder_are_right() -> None:
    vit = tiny_vit()
    images = images_of(batch=1, size=16).requires_grad_()

    def projected(images: Tensor) -> Tensor:
        return attention_entropy(vit, entering(vit, images), WEIGHTS)

    assert torch.autograd.gradcheck(projected, (images,), fast_mode=True)


@pytest.mark.parametrize("renormalise", [True, False])
def test_rows_with_zeros(renormalise: bool) -> None:
    rows = torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.25, 0.25, 0.0]], requires_grad=True)
    entropy = row_entropy(rows, renormalise)
    last = math.log(2) if renormalise else 0.5 * math.log(4)
    torch.testing.assert_close(entropy, torch.tensor([math.log(2), 0.0, 0.0, last]))
    entropy.sum().backward()
    assert rows.grad is not None
    assert bool(torch.isfinite(rows.grad).all())


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("chunk_elements", [1, 1 << 20])
def test_attention_of_exact_zeros_has_finite_gradients(renormalise: bool, chunk_elements: int) -> None:
    vit = tiny_vit().float()
    with torch.no_grad():
        vit.blocks[-1].attn.qkv.weight.mul_(1e3)
    tokens = entering(vit, images_of().float()).detach().requires_grad_()
    entropy = attention_entropy(vit, tokens, WEIGHTS, renormalise=renormalise, chunk_elements=chunk_elements)
    # Each head attends to one token, so at most two of sixteen weights of a row are not zero: the case is met.
    assert float(entropy.detach().max()) < math.log(2)
    entropy.sum().backward()
    assert bool(torch.isfinite(entropy).all())
    for gradient in (tokens.grad, vit.blocks[-1].attn.qkv.weight.grad, vit.blocks[-1].norm1.weight.grad):
        assert gradient is not None
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 4}], ids=["plain", "registers"])
@pytest.mark.parametrize("rows", [1, 3, 5])
def test_parts_agree_with_the_whole(options: dict[str, Any], rows: int) -> None:
    results = []
    for chunk_rows in (rows, 16):
        vit = tiny_vit(**options)
        images = images_of()
        elements = chunk_rows * 2 * 2 * (16 + vit.num_prefix_tokens)
        entropy = attention_entropy(vit, entering(vit, images), WEIGHTS, chunk_elements=elements)
        (entropy * torch.arange(16)).sum().backward()
        results.append((entropy, [p.grad for p in vit.parameters()]))
    (parts, part_gradients), (whole, whole_gradients) = results
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
    assert sum(gradient is not None for gradient in whole_gradients) > 15
    for part, expected in zip(part_gradients, whole_gradients, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-9, atol=1e-12)


class LargestSoftmax(TorchDispatchMode):
    """Notes how many numbers the largest softmax made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._softmax.default:
            self.elements = max(self.elements, result.numel())
        return result


def test_no_part_is_larger_than_asked_and_none_is_kept() -> None:
    vit = tiny_vit()
    tokens = entering(vit, images_of()).detach().requires_grad_()
    row = 2 * 2 * 17  # batch, heads, keys
    kept: list[int] = []
    for elements in (3 * row + 5, 1 << 20):
        saved: dict[int, Tensor] = {}  # by address: the parts share their keys

        def note(tensor: Tensor, saved: dict[int, Tensor] = saved) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with LargestSoftmax() as seen, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            attention_entropy(vit, tokens, WEIGHTS, chunk_elements=elements)
        assert seen.elements == min(elements // row, 16) * row
        kept.append(sum(tensor.untyped_storage().nbytes() // 8 for tensor in saved.values()))
    # Whole, the softmax and what follows stay for the backward pass.
    assert kept[0] < kept[1] - 16 * row


def test_a_proxy_network_gives_entropy_beside_its_outputs() -> None:
    torch.manual_seed(0)
    network = ProxyNetwork(weights="none", image_size=64, head_hidden=16, head_bottleneck=8, detail_width=8).eval()
    with torch.no_grad():
        network.aggregator.weight_logits.copy_(torch.tensor([1.0, 0.0, -1.0]))
        network.encoder.blocks[-1].attn.qkv.weight.mul_(20)  # heads that differ
    images = torch.rand(3, 1, 64, 64)
    output, entropy = network.adaptation_outputs(images)
    assert entropy.shape == (3, 16)
    assert float(entropy.detach().min()) > 0
    assert float(entropy.detach().max()) <= math.log(16) + 1e-6
    tokens = encode(network.encoder, network.normalize(images), detail=network.detail(network.normalize(images))[0])
    weights = network.aggregator.head_weights()
    torch.testing.assert_close(entropy, attention_entropy(network.encoder, tokens.entering, weights))
    for found, expected in zip(output, network.train_outputs(images), strict=True):
        torch.testing.assert_close(found, expected)
    with torch.no_grad():
        assert not torch.equal(network.adaptation_outputs(images, renormalise=False)[1], entropy)
    finished, predicted = network.finish(output, (64, 64)), network.predict(images)
    assert torch.equal(finished.map, predicted.map)
    assert torch.equal(finished.score, predicted.score)


def test_entropy_moves_the_norms_before_the_last_attention_and_no_head() -> None:
    torch.manual_seed(0)
    network = ProxyNetwork(weights="none", image_size=64, head_hidden=16, head_bottleneck=8).eval()
    _, entropy = network.adaptation_outputs(torch.rand(2, 1, 64, 64))
    entropy.square().mean().backward()
    norms = {
        f"{name}.{part}": value.grad
        for name, module in network.encoder.named_modules()
        if isinstance(module, nn.LayerNorm)
        for part, value in module.named_parameters()
    }
    without = {name for name, gradient in norms.items() if gradient is None or not float(gradient.abs().sum()) > 0}
    assert len(norms) == 50
    assert without == {f"{name}.{part}" for name in ("blocks.11.norm2", "norm") for part in ("weight", "bias")}
    for value in (*network.head.parameters(), *network.aggregator.parameters()):
        assert value.grad is None
