"""Values are checked before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch

from vitad_med.bundles import plain_errors
from vitad_med.bundles.values import available_devices, check_types, check_values
from vitad_med.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("epochs", 0, "at least 1"),
        ("epochs", 1.5, "whole number"),
        ("epochs", True, "whole number"),
        ("epochs", "three", "whole number"),
        ("seed", -1, "at least 0"),
        ("seed", 2**32, "at most 4294967295"),
        ("amp", "true", "--amp True"),
        ("amp", 1, "True or False"),
        ("image_size", 100, "multiple of the patch size 16"),
        ("image_size", 100, "96 or 112"),
        ("learning_rate", 0, "greater than 0"),
        ("learning_rate", float("nan"), "finite"),
        ("device", "cuda:99", "--device cpu"),
        ("device", "gpu", "torch device"),
        ("weights", 3, "text"),
        ("output_dir", "", "text that is not empty"),
        ("blend", "poison", "'poisson', 'paste'"),
        ("train#loader#batch", "many", "whole number"),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(project: Path, key: str, value: Any, part: str) -> None:
    with pytest.raises(ConfigError) as caught, plain_errors():
        monai.bundle.run(config_file="bundles/tiny/configs/train.json", **{key: value})
    message = str(caught.value)
    assert f"--{key} is " in message
    assert part in message
    assert not (project / "trained").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", "$1 + 2"),
        ("epochs", "@seed"),
        ("image_size", 96),
        ("learning_rate", 1),
        ("device", "cpu"),
        ("device", "cpu:0"),
        ("blend", "paste"),
        ("category", "screw"),
        ("output_dir", "here"),
    ],
)
def test_right_values_pass(project: Path, key: str, value: Any) -> None:
    with plain_errors():
        monai.bundle.run(config_file="bundles/tiny/configs/train.json", **{"seed": 7, key: value})
    assert (project / "trained").exists()


def test_an_expression_is_checked_by_its_value(project: Path) -> None:
    with pytest.raises(ConfigError, match="--epochs is -1"), plain_errors():
        monai.bundle.run(config_file="bundles/tiny/configs/train.json", epochs="$1 - 2")


def test_devices_of_this_machine_pass() -> None:
    for name in available_devices():
        check_values({"device": name})
        check_values({"device": torch.device(name)})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("workers", -1),
        ("val_fraction", 1.5),
        ("channels", 2),
        ("channels", True),
        ("resume", "no"),
        ("clip_norm", -1),
        ("clip_norm", 0),
        ("aggregator_lr", -1),
        ("dice_weight", 1.5),
        ("token_weight", -0.1),
        ("head_hidden", 0),
        ("layers", 5),
        ("layers", []),
        ("stages", [1, 2.5]),
        ("stages", [True]),
        ("grid", 0),
        ("grid", "all"),
        ("channels_kept", True),
        ("channels_kept", "finest"),
        ("sigma", -0.5),
        ("backbone", ""),
    ],
)
def test_further_shared_keys_have_ranges(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"--{key} is "):
        check_values({key: value})


def test_words_and_numbers_pass_where_both_are_meant() -> None:
    check_values({"grid": "finest", "channels_kept": "all", "layers": [-1], "stages": (1, 2), "backbone": "resnet18"})
    check_values({"grid": 28, "channels_kept": 100})


def test_the_patch_size_is_that_of_the_backbone_too() -> None:
    check_values({"image_size": 224, "backbone": "vit_small_patch14_dinov2"})
    with pytest.raises(ConfigError, match="multiple of the patch size 14 of vit_small_patch14_dinov2"):
        check_values({"image_size": 256, "backbone": "vit_small_patch14_dinov2"})


def test_types_follow_the_declaration() -> None:
    check_types({"a": 1.0, "b": None, "c": [1], "d": "@a"}, {"a": 2, "b": "x", "c": "y", "d": 3})
    with pytest.raises(ConfigError, match="--a#b is 'x'"):
        check_types({"a": {"b": 1.0}}, {"a": {"b": "x"}})
