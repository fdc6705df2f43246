"""The CLS row recomputed beside fused attention, on ViTs with and without extra prefix tokens and query-key norms."""

from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from vitad_med.errors import ConfigError
from vitad_med.networks.vit import check_image_size, create_vit, encode, saliency, use_fused_attention


def small_vit(**options: object) -> VisionTransformer:
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3, num_classes=0, dynamic_img_size=True, **options
    )
    return vit.eval()


def full_attention(vit: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    """The last block's whole attention matrix, caught inside timm's own unfused computation."""
    use_fused_attention(vit, False)
    caught: list[torch.Tensor] = []
    hook = vit.blocks[-1].attn.attn_drop.register_forward_hook(lambda _, __, output: caught.append(output))
    vit.forward_features(images)
    hook.remove()
    use_fused_attention(vit, True)
    return caught[0]


@pytest.mark.parametrize(
    "options",
    [{}, {"reg_tokens": 4}, {"qk_norm": True}, {"qkv_bias": False}, {"init_values": 0.1}],
    ids=["plain", "registers", "qk-norm", "no-bias", "layer-scale"],
)
@pytest.mark.parametrize("size", [32, 48])
def test_cls_row_equals_full_attention(options: dict[str, object], size: int) -> None:
    vit = small_vit(**options).double()
    images = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        expected = full_attention(vit, images)[:, :, 0, vit.num_prefix_tokens :]
        found = encode(vit, images)
    assert found.grid == (size // 8, size // 8)
    assert found.attention.shape == (2, 3, (size // 8) ** 2)
    torch.testing.assert_close(found.attention.double(), expected, rtol=0, atol=2e-7)
    torch.testing.assert_close(found.tokens, vit.forward_features(images))
    torch.testing.assert_close(saliency(vit, images), found.attention.mean(dim=1).reshape(2, *found.grid))


def test_attention_carries_gradient_only_when_asked() -> None:
    vit = small_vit()
    images = torch.randn(1, 3, 32, 32)
    assert not encode(vit, images).attention.requires_grad
    attention = encode(vit, images, detach_attention=False).attention
    attention[0, 0, 3].backward()
    assert vit.patch_embed.proj.weight.grad is not None
    assert float(vit.patch_embed.proj.weight.grad.abs().sum()) > 0


def test_rectangular_images_keep_rows_and_columns_apart() -> None:
    vit = small_vit()
    assert encode(vit, torch.randn(1, 3, 32, 64)).grid == (4, 8)


def test_refusals_name_key_and_remedy() -> None:
    with pytest.raises(ConfigError, match=r"image_size 100 .* patch size 16: use 96"):
        check_image_size(create_vit("vit_tiny_patch16_224"), 100)
    with pytest.raises(ConfigError, match="image_size 100"):
        create_vit("vit_tiny_patch16_224", image_size=100)
    with pytest.raises(ConfigError, match="'resnet18'"):
        create_vit("resnet18")
    with pytest.raises(ConfigError, match="'vit_tinny_patch16_224'"):
        create_vit("vit_tinny_patch16_224")
