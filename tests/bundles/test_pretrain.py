"""`pretrain.json` starts from its defaults, takes data sources and recipes, and refuses what cannot train."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from vitad_med.bundles import plain_errors
from vitad_med.engines.pretraining import METHODS
from vitad_med.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "bundles" / "apmask" / "configs" / "pretrain.json"
SOURCES = sorted(ROOT.glob("configs/datasets/*.json"))
RECIPE = ROOT / "configs" / "recipes" / "aaai2023_pretrain_vit_small.json"
COMMON = {"data", "dataset_dir", "output_dir", "device", "seed", "batch_size", "image_size", "weights", "amp", "epochs"}
# What the paper states, section "Training Setup".
PAPER = {
    "architecture": "vit_small_patch16_224",
    "weights": "vit_small_patch16_224.dino",
    "epochs": 300,
    "batch_size": 16,
    "learning_rate": 5e-4,
    "warmup_start": 1e-5,
    "warmup_epochs": 10,
    "mask_ratio": 0.3,
    "temperature": 0.1,
    "prototypes": 20,
    "queue": 0,
    "teacher_momentum": 0.996,
    "image_size": 224,
}


def start(*files: Path, steps: int = 1, **override: object) -> ConfigParser:
    """Evaluate the first steps only: no image is read."""
    with plain_errors():
        workflow = ConfigWorkflow(
            [str(file) for file in files or (CONFIG,)],
            bundle_root=str(CONFIG.parents[1]),
            logging_file=False,
            **override,
        )
        for step in range(steps):
            workflow.parser.get_parsed_content(f"initialize::{step}")
    return workflow.parser


def test_the_defaults_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parser = start()
    assert parser.get_parsed_content("dataset_dir") == str(ROOT / "examples" / "nih_mini")
    assert parser.get_parsed_content("output_dir") == str(tmp_path / "outputs" / "apmask_pretrain")
    assert parser.get().keys() >= COMMON
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_data_source_file_stacks(source: Path) -> None:
    start(CONFIG, source)


def test_the_recipe_is_the_papers_setting() -> None:
    parser = start(CONFIG, RECIPE)
    assert {key: parser.get_parsed_content(key) for key in PAPER} == PAPER
    multicrop = parser.get_parsed_content("multicrop")
    assert (multicrop.global_views, multicrop.global_size) == (1, 224)
    assert (multicrop.local_views, multicrop.local_size) == (8, 96)
    assert parser.get_parsed_content("saliency") == "per_image"


def test_the_recipe_of_the_embedded_weights_stacks() -> None:
    # It gave the same bytes as the configuration that made them, which is in the history before this recipe.
    parser = start(CONFIG, ROOT / "configs" / "recipes" / "dino_vit_tiny_nih.json")
    multicrop = parser.get_parsed_content("multicrop")
    assert (multicrop.global_views, multicrop.global_size, multicrop.local_size) == (2, 128, 64)
    loss = parser.get_parsed_content("loss_def")
    assert (loss.temperature(0.0), loss.temperature(1.0), loss.centering) == (0.03, 0.03, "sinkhorn")
    assert parser.get("warmup_start") is None


@pytest.mark.parametrize("objective", METHODS)
def test_an_objective_by_name_has_its_own_views(objective: str) -> None:
    parser = start(objective=objective, weights="none")
    assert parser.get_parsed_content("multicrop").global_views == METHODS[objective].global_views
    masks = parser.get_parsed_content("views").masking
    assert masks.kind == METHODS[objective].masking


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"sede": 1}, "did you mean '--seed'"),
        ({"mask_ratio": 1.0}, "mask_ratio 1.0 must lie in 0..1"),
        ({"mask_ratio": -0.5}, "mask_ratio -0.5 must lie in 0..1"),
        ({"batch_size": 1}, "set batch_size to at least 2"),
        ({"image_size": 100}, "--image_size is 100, but must be a multiple of the patch size 16"),
        ({"multicrop#global_size": 100}, "multicrop#global_size 100 is no multiple of the patch size 16: use 96"),
        ({"multicrop#local_size": 50}, "multicrop#local_size 50 is no multiple of the patch size 16: use 48"),
        ({"objective": "swav"}, "--objective is 'swav', but must be one of 'apmask'"),
        ({"masking": "blocks"}, "--masking is 'blocks', but must be one of 'published'"),
        ({"saliency": "once"}, "--saliency is 'once'"),
        ({"encoder": "both"}, "--encoder is 'both', but must be one of 'teacher', 'student'"),
        ({"prototypes": 1}, "--prototypes is 1, but must be a whole number of at least 2"),
        ({"queue": -1}, "--queue is -1"),
        ({"epsilon": 0.0}, "--epsilon is 0.0, but must be greater than 0"),
        ({"collapse#patience": 0}, "collapse#patience 0 must be at least 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_train_is_refused_before_images_are_read(override: dict[str, object], message: str) -> None:
    given = {"weights": "none", "dataset_dir": "/nonexistent", **override}
    with pytest.raises(ConfigError, match=message), plain_errors():
        start(steps=3, **given).get_parsed_content("collapse")
