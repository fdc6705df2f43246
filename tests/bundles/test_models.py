"""What lies in a bundle's `models` folder belongs together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from tests.bundles.conftest import Patients
from vitad_med.adaptation.statistics import read_statistics
from vitad_med.engines.setup import load_model

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted(ROOT.glob("bundles/*/models/model.pt"))
STATISTICS = sorted(ROOT.glob("bundles/*/models/statistics.safetensors"))


@pytest.mark.parametrize("path", STATISTICS, ids=lambda path: path.parents[1].name)
def test_the_statistics_are_of_the_model_beside_them_and_of_its_default_settings(path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(path.parents[1] / "configs" / "evaluate.json")
    digest = load_model(path.with_name("model.pt"), parser.get_parsed_content("network_def"))
    found = read_statistics(path)
    found.check(digest, parser.get_parsed_content("pipeline"), True, (14, 14))
    assert int(found.count.min()) > 100
    assert found.views == "full_frame"


@pytest.mark.parametrize("path", STATISTICS, ids=lambda path: path.parents[1].name)
def test_they_name_the_patients_of_training_and_nobody_else(path: Path, split_patients: Patients) -> None:
    found = read_statistics(path)
    training, held, test = split_patients
    assert found.patients == training
    assert not found.patients & (held | test)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parents[1].name)
def test_a_shipped_model_is_of_the_default_settings_and_has_figures(path: Path) -> None:
    configs = path.parents[1] / "configs"
    for name in ("evaluate.json", "inference.json"):
        parser = ConfigParser()
        parser.read_config(configs / name)
        load_model(path, parser.get_parsed_content("network_def"))
    assert path.stat().st_size < 20e6
    figures = json.loads((configs / "metadata.json").read_text())["eval_metrics"]
    assert figures.keys() >= {
        "synthetic_image_auroc",
        "image_auroc",
        "image_auroc_of_metadata_alone",
        "conditioned_auroc",
    }


def test_there_are_statistics() -> None:
    assert "attn_synth" in [path.parents[1].name for path in STATISTICS]
