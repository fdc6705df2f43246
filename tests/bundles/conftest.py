"""A small real bundle: the keys and the first step of every bundle of this project, with nothing to train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitad_med.data.registry import read_cases
from vitad_med.data.roster import patient_keys

# Keys of the patients of training, validation and test.
Patients = tuple[frozenset[str], frozenset[str], frozenset[str]]

TINY: dict[str, Any] = {
    "bundle_root": "bundles/tiny",
    "dataset_dir": "images",
    "output_dir": {"_target_": "vitad_med.bundles.output_folder", "bundle_root": "@bundle_root"},
    "device": "auto",
    "seed": 0,
    "epochs": 2,
    "amp": False,
    "image_size": 224,
    "architecture": "vit_tiny_patch16_224",
    "weights": "none",
    "blend": "poisson",
    "category": None,
    "learning_rate": 0.1,
    "train": {
        "trainer": {"_target_": "builtins.dict", "max_epochs": "@epochs", "amp": "@amp"},
        "loader": {"batch": 4, "workers": 0},
        "handlers": [{"_target_": "builtins.dict", "interval": 1}],
    },
    "marker": {"_target_": "pathlib.Path.touch", "self": "$__import__('pathlib').Path('trained')"},
    "initialize": [
        {
            "_target_": "vitad_med.bundles.start",
            "bundle_root": "@bundle_root",
            "config": "train.json",
            "choices": {"blend": ["poisson", "paste"]},
        }
    ],
    "run": ["@marker", "$print('epochs', @train#trainer['max_epochs'], 'into', @output_dir)"],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `bundles/tiny/configs/train.json`, made the current directory; a run leaves the file `trained`."""
    configs = tmp_path / "bundles" / "tiny" / "configs"
    configs.mkdir(parents=True)
    (configs / "train.json").write_text(json.dumps(TINY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def split_patients(shared_data: Path) -> Patients:
    """Patients of the development set as the shipped models' trainings split them."""
    dataset, held_out = shared_data / "nih_cxr14_dev", {"val_fraction": 0.1, "split_seed": 0}
    training, held, test = (
        patient_keys(read_cases("nih_chestxray14", dataset, section, **split), None)
        for section, split in (("train", held_out), ("val", held_out), ("test", {}))
    )
    return training, held, test
