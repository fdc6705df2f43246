"""What only the bundle `apmask` has: sizes, votes, and the head of pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai.bundle
import pytest
from monai.bundle import ConfigParser

from vitad_med.bundles import plain_errors
from vitad_med.engines.multiscale import PAPER_SIZES, MultiScaleInferer
from vitad_med.errors import ConfigError, VitadError, WeightsError

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "apmask"
ABSENT = "absent.safetensors"


@pytest.mark.parametrize(
    ("config", "override", "kind", "part"),
    [
        ("evaluate", {"sizes": [224, 330]}, ConfigError, "no multiple of the patch size 16: use 320 or 336"),
        ("evaluate", {"sizes": 224}, ConfigError, "sizes is 224, but must be a list"),
        ("inference", {"sizes": []}, ConfigError, r"sizes is \[\], but must be a list"),
        ("inference", {"sizes": [224, 224]}, ConfigError, "sizes holds 224 more than once"),
        ("evaluate", {"source_size": 100}, ConfigError, "source_size 100 is below 512, the largest of sizes"),
        ("inference", {"source_size": 100}, ConfigError, "source_size 100 is below 512, the largest of sizes"),
        (
            "pretrain",
            {"grid_size": 100},
            ConfigError,
            "--grid_size is 100, but must be a multiple of the patch size 16",
        ),
        ("pretrain", {"teacher_scale": [0.5]}, ConfigError, r"teacher_scale is \[0.5\], but must be two numbers"),
        ("pretrain", {"multicrop#global_scale": [0.4]}, ConfigError, r"multicrop#global_scale is \[0.4\], but must"),
        ("pretrain", {"warmup_start": 1.0}, ConfigError, "warmup_start is above learning_rate"),
        ("pretrain", {"centering": "mean"}, ConfigError, "'mean' does not apply to objective 'apmask'"),
        ("evaluate", {"image_score": "majority"}, ConfigError, "--image_score is 'majority'"),
        ("evaluate", {"map_average": "attention"}, ConfigError, "--map_average is 'attention'"),
        ("evaluate", {"sizez": [224]}, ConfigError, "did you mean '--sizes'"),
        ("train", {"transfer_head": "yes"}, ConfigError, "--transfer_head is 'yes'"),
        ("train", {"warmup_start": 0.001, "epochs": 1}, ConfigError, "warmup_start is above learning_rate"),
        ("train", {"transfer_head": True, "epochs": 1}, WeightsError, "weights 'embedded' hold no head"),
        ("train", {"weights": ABSENT, "epochs": 1}, WeightsError, f"'{ABSENT}' does not exist"),
    ],
)
def test_mistakes_are_refused_by_name(
    tmp_path: Path, config: str, override: dict[str, Any], kind: type[VitadError], part: str
) -> None:
    given = {"bundle_root": str(BUNDLE), "output_dir": str(tmp_path / "out"), **override}
    with pytest.raises(kind, match=part), plain_errors():
        monai.bundle.run(config_file=str(BUNDLE / "configs" / f"{config}.json"), logging_file=False, **given)
    assert not (tmp_path / "out" / "model.pt").exists()


@pytest.mark.parametrize("config", ["evaluate", "inference"])
def test_both_ask_the_network_alike(config: str) -> None:
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / f"{config}.json")
    inferer = parser.get_parsed_content("inferer")
    assert isinstance(inferer, MultiScaleInferer)
    assert inferer.sizes == PAPER_SIZES
    assert (inferer.map_average, inferer.image_score) == ("probability", "mean_probability")
    assert parser.get_parsed_content("source_size") == 512


def test_the_rule_of_the_score_follows_its_key() -> None:
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / "evaluate.json")
    rules = parser.get_parsed_content("score_rules")
    assert rules["mean_probability"].startswith("mean over image sizes")
    assert rules["vote"].startswith("share of image sizes")
    assert parser.get("handlers")[0]["score_rule"] == "$@score_rules[@image_score]"


def test_the_papers_recipe_stacks() -> None:
    parser = ConfigParser()
    parser.read_config([str(BUNDLE / "configs" / "train.json"), str(ROOT / "configs/recipes/aaai2023_vit_small.json")])
    assert parser.get("architecture") == "vit_small_patch16_224"
    assert parser.get("optimizer_name") == "adamw"
    assert parser.get("multicrop")["local_views"] == 8
    assert parser.get("synthesis")["blend"] == "poisson"
    assert parser.get_parsed_content("loss_function").dice_weight == 0.05
    assert (parser.get("warmup_start"), parser.get("warmup_epochs")) == (1e-5, 10)


def test_warm_up_begins_at_its_key(tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / "train.json")
    parser.update({"weights": "none", "network": "@network_def", "tracking_uri": "none", "output_dir": str(tmp_path)})
    rates = [group["lr"] for group in parser.get_parsed_content("optimizer").param_groups]
    parser.get_parsed_content("scheduler")
    started = [group["lr"] for group in parser.get_parsed_content("optimizer").param_groups]
    assert started == pytest.approx([rate * 1e-5 / 5e-4 for rate in rates])
