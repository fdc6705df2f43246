"""The forward pass over kept tokens equals timm's own over a sequence from which the others were removed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitad_med.networks.distillation import DistillationNetwork
from vitad_med.networks.masked import forward_tokens
from vitad_med.networks.vit import VisionTransformer, create_vit

OPTIONS: dict[str, dict[str, object]] = {
    "plain": {},
    "registers": {"reg_tokens": 4},
    "registers-no-embed-class": {"reg_tokens": 4, "no_embed_class": True},
    "norm-pre": {"pre_norm": True},
    "layer-scale": {"init_values": 0.1},
}


def small_vit(**options: object) -> VisionTransformer:
    vit = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3, num_classes=0, dynamic_img_size=True, **options
    )
    for parameter in vit.parameters():  # fresh tokens and norms are zeros and ones: nothing could go wrong with them
        torch.nn.init.normal_(parameter, std=0.2)
    return vit.double().eval()


def removed(vit: VisionTransformer, image: Tensor, kept: list[int]) -> Tensor:
    """One image [3, H, W] through timm's own parts, with the tokens taken out by hand."""
    tokens = vit._pos_embed(vit.patch_embed(image[None]))[0]
    prefix = vit.num_prefix_tokens
    sequence = torch.stack([*tokens[:prefix], *(tokens[prefix + i] for i in kept)])
    return vit.norm(vit.blocks(vit.norm_pre(sequence[None])))[0]


def kept_of(images: int, tokens: int, count: int) -> Tensor:
    """Other tokens for each image."""
    return torch.stack([torch.randperm(tokens)[:count].sort().values for _ in range(images)])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("size", [32, 48])
def test_dropping_equals_a_sequence_without_these_tokens(options: dict[str, object], size: int) -> None:
    vit = small_vit(**options)
    images = torch.randn(3, 3, size, size, dtype=torch.float64)
    tokens = (size // 8) ** 2
    kept = kept_of(3, tokens, tokens - int(0.3 * tokens))
    with torch.no_grad():
        found = forward_tokens(vit, images, kept)
        expected = torch.stack([removed(vit, i, k.tolist()) for i, k in zip(images, kept, strict=True)])
    assert found.shape[1] == vit.num_prefix_tokens + kept.shape[1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2"])
def test_real_architectures(architecture: str) -> None:
    size = 4 * int(architecture.split("patch")[1][:2])
    vit = create_vit(architecture, size).double().eval()
    images = torch.randn(2, 3, size, size, dtype=torch.float64)
    kept = kept_of(2, 16, 12)
    with torch.no_grad():
        found = forward_tokens(vit, images, kept)
        expected = torch.stack([removed(vit, i, k.tolist()) for i, k in zip(images, kept, strict=True)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def blank(images: Tensor, patch: int, where: Tensor) -> Tensor:
    """Other pixels in the patches where [B, rows, columns] is True."""
    pixels = where.repeat_interleave(patch, 1).repeat_interleave(patch, 2).unsqueeze(1)
    return torch.where(pixels, torch.full_like(images, 7.0), images)


def test_pixels_of_dropped_patches_do_not_matter_and_those_of_kept_ones_do() -> None:
    vit = small_vit(reg_tokens=2)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    kept = torch.tensor([[0, 5, 6, 15], [1, 2, 3, 4]])
    stays = torch.zeros(2, 16, dtype=torch.bool).scatter_(1, kept, True).reshape(2, 4, 4)
    with torch.no_grad():
        whole = forward_tokens(vit, images, kept)
        assert torch.equal(forward_tokens(vit, blank(images, 8, ~stays), kept), whole)
        assert not torch.allclose(forward_tokens(vit, blank(images, 8, stays), kept), whole)


def test_without_masks_it_is_timms_forward_bit_for_bit() -> None:
    vit = create_vit("vit_tiny_patch16_224", 64).eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(forward_tokens(vit, images), vit.forward_features(images))


def test_hidden_patches_show_the_mask_token_at_their_place() -> None:
    vit = small_vit()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    hidden = torch.zeros(2, 16, dtype=torch.bool)
    hidden[0, 3] = hidden[1, 9] = True
    token = torch.randn(1, 1, 1, 24, dtype=torch.float64)
    grid = hidden.reshape(2, 4, 4)
    moved = hidden.roll(1, 1)
    with torch.no_grad():
        found = forward_tokens(vit, images, hidden=hidden, mask_token=token)
        assert found.shape == (2, 17, 24)
        assert torch.equal(found, forward_tokens(vit, blank(images, 8, grid), hidden=hidden, mask_token=token))
        assert not torch.allclose(found, forward_tokens(vit, images, hidden=hidden, mask_token=token.flip(-1)))
        assert not torch.allclose(found, forward_tokens(vit, images, hidden=moved, mask_token=token))


def test_a_network_reads_the_patches_that_it_is_asked_for_in_order() -> None:
    network = DistillationNetwork(
        image_size=32, prototypes=5, head_hidden=8, head_bottleneck=4, head_batch_norm=False, mask_token=True
    ).eval()
    images = torch.rand(2, 1, 32, 32)
    read = torch.tensor([[True, False, False, True], [False, True, True, False]])
    output = network(images, read=read)
    tokens = network.encoder.forward_features((images.expand(-1, 3, -1, -1) - network.mean) / network.std)
    expected = network.head(torch.stack([tokens[0, 1], tokens[0, 4], tokens[1, 2], tokens[1, 3]]))
    torch.testing.assert_close(output.patches, expected)
    torch.testing.assert_close(output.features, tokens[:, 0])
    assert network(images).patches is None
    assert network(images, kept=torch.tensor([[0, 1], [2, 3]])).logits.shape == (2, 5)
