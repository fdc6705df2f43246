"""Every config starts from its defaults, takes the data source files, and offers what the tools of MONAI ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig

from vitad_med.bundles import plain_errors
from vitad_med.data.intensity import NORMALISATION
from vitad_med.data.registry import READERS
from vitad_med.engines.setup import choose_device
from vitad_med.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    path
    for name in ("train", "evaluate", "inference", "summarize", "adapt")
    for path in ROOT.glob(f"bundles/*/configs/{name}.json")
)
EVALUATIONS = [path for path in CONFIGS if path.stem == "evaluate"]
SOURCES = sorted(ROOT.glob("configs/datasets/*.json"))
COMMON = {"data", "dataset_dir", "output_dir", "device", "seed", "batch_size", "image_size", "weights", "amp"}


@pytest.fixture(params=CONFIGS, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def config(request: pytest.FixtureRequest) -> Path:
    return request.param


def start(files: list[Path], **override: object) -> ConfigParser:
    """Evaluate the first step only: nothing is built."""
    bundle = files[0].parents[1]
    with plain_errors():
        workflow = ConfigWorkflow(
            [str(file) for file in files], bundle_root=str(bundle), logging_file=False, **override
        )
        workflow.parser.get_parsed_content("initialize::0")
    return workflow.parser


def test_there_are_configs() -> None:
    assert {path.stem for path in CONFIGS} >= {"train", "evaluate", "summarize"}
    assert len(SOURCES) >= 2


def test_the_defaults_pass(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parser = start([config])
    assert parser.get_parsed_content("dataset_dir") == str(ROOT / "examples" / "nih_mini")
    assert parser.get_parsed_content("output_dir") == str(tmp_path / "outputs" / config.parents[1].name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_data_source_file_stacks(config: Path, source: Path) -> None:
    assert start([config, source]).get("data") in READERS


def test_a_mistake_is_refused(config: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean '--seed'"):
        start([config], sede=1)
    with pytest.raises(ConfigError, match="--image_size is 100, but must be a multiple of the patch size 16"):
        start([config], image_size=100)


def test_the_common_keys_are_there(config: Path) -> None:
    keys = ConfigParser.load_config_file(config).keys()
    assert keys >= COMMON | ({"epochs"} if config.stem == "train" else set())


@pytest.mark.parametrize(
    "config", [path for path in CONFIGS if path.stem == "evaluate"], ids=lambda p: p.parents[1].name
)
def test_an_evaluation_says_which_settings_change_its_scores(config: Path) -> None:
    # A fitted model belongs to the channels that it was fitted with, and is looked at for the pipeline.
    channels = 1 if config.parents[1].name == "contnet_gaussian" else 3
    parser = start([config], channels=channels)
    pipeline = parser.get_parsed_content("pipeline")
    assert pipeline["channels"] == channels
    assert pipeline["normalisation"] == NORMALISATION
    # Weights are no settings: the model's digest tells them.
    network = {key for key in parser.get("network_def") if key not in ("_target_", "weights", "backbone_weights")}
    assert pipeline.keys() >= network | {"amp"}
    assert all(isinstance(value, (str, int, float, bool)) for value in pipeline.values())
    assert parser.get_parsed_content("backend") == {
        "name": "torch",
        "device": choose_device("auto").type,
        "precision": "float32",
    }
    metadata = json.loads((config.parent / "metadata.json").read_text())
    assert parser.get("score_rule") == metadata["network_data_format"]["outputs"]["pred"]["score_rule"]


@pytest.mark.parametrize("config", EVALUATIONS, ids=lambda path: path.parents[1].name)
def test_only_a_shift_of_the_images_shows_in_the_pipeline(config: Path) -> None:
    plain, shifted = (start([config], shift=shift).get_parsed_content("pipeline") for shift in ("none", "jpeg"))
    assert "shift" not in plain
    assert shifted == {**plain, "shift": "jpeg"}
    assert start([config], shift="blur").get("dataset")["shift"] == "@shift"
    with pytest.raises(ConfigError, match=r"--shift is 'blurred', but must be one of 'none', .*'blur'"):
        start([config], shift="blurred")


@pytest.mark.parametrize(
    "config", [path for path in CONFIGS if path.stem == "summarize"], ids=lambda p: p.parents[1].name
)
def test_statistics_have_the_settings_of_an_evaluation(config: Path) -> None:
    # They are refused in a run whose pipeline differs from theirs.
    given = {"channels": 3, "image_size": 64, "amp": True}
    own, evaluation = (
        start([config.with_name(name)], **given).get_parsed_content("pipeline")
        for name in ("summarize.json", "evaluate.json")
    )
    assert own == evaluation
    assert own == start([config.with_name("adapt.json")], **given).get_parsed_content("pipeline")
    assert own["image_size"] == 64


def test_the_properties_that_monai_requires_are_there(config: Path) -> None:
    parser = ConfigParser()
    parser.read_config(config)
    properties = TrainProperties if config.stem == "train" else InferProperties
    required = [item[BundlePropertyConfig.ID] for item in properties.values() if item[BundleProperty.REQUIRED]]
    assert [name for name in required if name not in parser] == []
