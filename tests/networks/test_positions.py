"""Position embeddings on other grids: timm's own values, resampled once, and the encoder as it was afterwards."""

from __future__ import annotations

import pytest
import torch

from vitad_med.networks import positions
from vitad_med.networks.positions import PositionCache, VisionTransformer, resample_abs_pos_embed
from vitad_med.networks.vit import create_vit

# A position for CLS; registers, and no position for any prefix token.
ARCHITECTURES = ("vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2")


def encoder(architecture: str) -> VisionTransformer:
    torch.manual_seed(0)
    patch = 14 if "patch14" in architecture else 16
    return create_vit(architecture, 4 * patch).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_forward_pass_is_timms_own(architecture: str) -> None:
    vit = encoder(architecture)
    side = int(vit.patch_embed.patch_size[0])
    images = torch.rand(2, 3, 6 * side, 6 * side)
    with torch.no_grad():
        expected = vit.forward_features(images)
        with PositionCache().on_grid(vit, (6, 6)):
            assert vit.patch_embed.grid_size == (6, 6)
            assert torch.equal(vit.forward_features(images), expected)


def test_the_embeddings_are_timms_resample() -> None:
    vit = encoder("vit_tiny_patch16_224")
    expected = resample_abs_pos_embed(vit.pos_embed, [5, 7], [4, 4], num_prefix_tokens=1)
    with PositionCache().on_grid(vit, (5, 7)):
        assert torch.equal(vit.pos_embed, expected)
        assert not vit.pos_embed.requires_grad


def test_each_grid_is_resampled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args, **kwargs):
        calls.append(kwargs["new_size"])
        return resample_abs_pos_embed(*args, **kwargs)

    monkeypatch.setattr(positions, "resample_abs_pos_embed", counted)
    vit, cache = encoder("vit_tiny_patch16_224"), PositionCache()
    for _ in range(3):
        for side in (4, 6, 8):
            with cache.on_grid(vit, (side, side)), torch.no_grad():
                vit.forward_features(torch.rand(1, 3, 16 * side, 16 * side))
    assert calls == [[6, 6], [8, 8]]


def test_the_encoder_is_restored_also_after_an_error() -> None:
    vit = encoder("vit_tiny_patch16_224")
    own, state = vit.pos_embed, list(vit.state_dict())
    with pytest.raises(KeyError), PositionCache().on_grid(vit, (6, 6)):
        raise KeyError
    assert vit.pos_embed is own
    assert vit.patch_embed.grid_size == (4, 4)
    assert list(vit.state_dict()) == state


def test_changed_embeddings_are_resampled_again() -> None:
    vit, cache = encoder("vit_tiny_patch16_224"), PositionCache()
    with cache.on_grid(vit, (6, 6)):
        before = vit.pos_embed.clone()
    vit.pos_embed.data.mul_(2)
    with cache.on_grid(vit, (6, 6)):
        assert torch.allclose(vit.pos_embed, 2 * before)
