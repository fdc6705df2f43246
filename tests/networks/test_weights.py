"""Starting weights: local files in both namings, the embedded default, and what is said when they do not fit."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitad_med.checkpoint import save_safetensors
from vitad_med.errors import WeightsError
from vitad_med.networks.vit import create_vit
from vitad_med.networks.weights import build_encoder

TINY = "vit_tiny_patch16_224"


def tiny_state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {name: torch.randn_like(value) for name, value in create_vit(TINY).state_dict().items()}


def test_safetensors_bring_values_and_statistics(tmp_path: Path) -> None:
    state = tiny_state()
    path = tmp_path / "encoder.safetensors"
    save_safetensors(path, state, {"mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 0.6]"})
    vit, (mean, std) = build_encoder(TINY, str(path))
    assert (mean, std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    for name, value in vit.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_official_dino_checkpoints_are_unwrapped(tmp_path: Path, prefix: str) -> None:
    state = tiny_state()
    path = tmp_path / "dino.pth"
    teacher = {prefix + name: value for name, value in state.items()} | {prefix + "head.mlp.0.weight": torch.ones(2)}
    torch.save({"student": {}, "teacher": teacher, "epoch": 3}, path)
    vit, (mean, std) = build_encoder(TINY, str(path))
    assert mean == pytest.approx((0.485, 0.456, 0.406))
    assert std == pytest.approx((0.229, 0.224, 0.225))
    assert torch.equal(vit.state_dict()["blocks.11.mlp.fc2.weight"], state["blocks.11.mlp.fc2.weight"])


def test_position_embedding_of_another_size_is_resampled(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_safetensors(path, tiny_state(), {})
    vit, _ = build_encoder(TINY, str(path), image_size=96)
    assert vit.pos_embed.shape == (1, 1 + 36, 192)


def test_another_architecture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_safetensors(path, tiny_state(), {})
    with pytest.raises(WeightsError, match=r"do not belong to architecture 'vit_small_.*set `architecture`"):
        build_encoder("vit_small_patch16_224", str(path))


def test_missing_truncated_and_unknown_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        build_encoder(TINY, str(tmp_path / "none.safetensors"))
    damaged = tmp_path / "damaged.safetensors"
    save_safetensors(damaged, tiny_state(), {})
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="no readable safetensors"):
        build_encoder(TINY, str(damaged))
    with pytest.raises(WeightsError, match="neither 'embedded', 'none'"):
        build_encoder(TINY, "embeded")
    with pytest.raises(WeightsError, match="timm publishes no weights"):
        build_encoder(TINY, "vit_tiny_patch16_224.dino")


class Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemError('a checkpoint ran code')",))


def test_a_checkpoint_may_hold_the_command_line_that_made_it(tmp_path: Path) -> None:
    """As the full checkpoints that DINO publishes do."""
    vit = create_vit(TINY, 224)
    content = {"teacher": vit.state_dict(), "args": argparse.Namespace(arch="vit_tiny")}
    torch.save(content, tmp_path / "full.pth")
    encoder, _ = build_encoder(TINY, str(tmp_path / "full.pth"))
    assert torch.equal(encoder.state_dict()["cls_token"], vit.state_dict()["cls_token"])


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"state_dict": Exploit()}))
    with pytest.raises(WeightsError, match="more than tensors"):
        build_encoder(TINY, str(path))


def test_offline_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    said = "not in its cache: on a machine with a network run .* or pass a local .safetensors file"
    with pytest.raises(WeightsError, match=f"{said} or 'none'$"):
        build_encoder("vit_small_patch16_224", "vit_small_patch16_224.dino")
    with pytest.raises(WeightsError, match=f"{said}, 'embedded' or 'none'$"):  # which are of this architecture
        build_encoder(TINY, f"{TINY}.augreg_in21k")


def test_embedded_weights_fit_and_differ_from_random() -> None:
    first, statistics = build_encoder(TINY, "embedded")
    second, _ = build_encoder(TINY, "embedded")
    assert statistics == ((0.5,) * 3, (0.25,) * 3)
    state = first.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in second.state_dict().items())
    assert float(state["pos_embed"].abs().mean()) > 1e-3
