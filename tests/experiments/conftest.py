"""A small repository: one real bundle that does arithmetic, two data folders, and an experiment on them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitad_med.experiments import Plan, plan, read_experiment


def config(name: str, run: str, **keys: Any) -> dict[str, Any]:
    return {
        "imports": ["$import tests.experiments.tiny_steps as steps"],
        "bundle_root": "bundles/tiny",
        "data": "nih_chestxray14",
        "dataset_dir": "images",
        "output_dir": "outputs",
        "tracking_uri": "none",
        "category": None,
        **keys,
        "initialize": [{"_target_": "vitad_med.bundles.start", "bundle_root": "@bundle_root", "config": name}],
        "run": [f"$steps.{run}"],
    }


CONFIGS = {
    "train.json": config(
        "train.json",
        "train(@output_dir, @seed, @rate, @steps, @wait, @fault)",
        seed=0,
        rate=0.5,
        steps=4,
        wait=0.0,
        fault="none",
        block={"width": 3},
        copy="@rate",
    ),
    "evaluate.json": config(
        "evaluate.json",
        "evaluate(@output_dir, @weights, @scale, @category)",
        weights="$@bundle_root + '/models/model.json'",
        scale=1.0,
        seed=0,
    ),
}

EXPERIMENT: dict[str, Any] = {
    "schema": "vitad_med/experiment/1",
    "title": "Arithmetic",
    "question": "Which rate is higher?",
    "seeds": [0, 1],
    "data": {"first": {"title": "First", "dataset_dir": "images"}, "second": {"dataset_dir": "more"}},
    "steps": {
        "train": {"bundle": "bundles/tiny", "config": ["train.json"], "overrides": {"seed": "{seed}"}},
        "evaluate": {
            "bundle": "bundles/tiny",
            "config": ["evaluate.json"],
            "overrides": {"weights": "{train}/model.json"},
        },
    },
    "rows": {
        "low": {"label": "low rate", "steps": ["train", "evaluate"], "data": ["first"]},
        "high": {"steps": ["train", "evaluate"], "data": ["first"], "overrides": {"train": {"rate": 0.75}}},
        "doubled": {"steps": ["train", "evaluate"], "data": ["first"], "overrides": {"evaluate": {"scale": 2.0}}},
        "shipped": {
            "steps": ["evaluate"],
            "data": ["first"],
            "overrides": {"evaluate": {"weights": "{bundle}/models/model.json"}},
        },
    },
    "metrics": {
        "auroc": {"step": "evaluate", "path": "cohorts#all#metrics#auroc#value"},
        "women": {"step": "evaluate", "path": "cohorts#sex=F#metrics#auroc#value"},
    },
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Root of the small repository."""
    bundle = tmp_path / "repository" / "bundles" / "tiny"
    for folder in (bundle / "configs", bundle / "models", tmp_path / "repository" / "images"):
        folder.mkdir(parents=True)
    (tmp_path / "repository" / "more").mkdir()
    for name, content in CONFIGS.items():
        (bundle / "configs" / name).write_text(json.dumps(content))
    (bundle / "configs" / "metadata.json").write_text('{"version": "0.1.0"}')
    (bundle / "models" / "model.json").write_text('{"value": 0.125}')
    return tmp_path / "repository"


@pytest.fixture
def content() -> dict[str, Any]:
    """The experiment, to be changed."""
    return copy.deepcopy(EXPERIMENT)


@pytest.fixture
def write(repository: Path) -> Callable[[dict[str, Any]], Path]:
    """Write an experiment file into the repository."""

    def written(content: dict[str, Any]) -> Path:
        path = repository / "experiment.json"
        path.write_text(json.dumps(content))
        return path

    return written


@pytest.fixture
def planned(write: Callable[[dict[str, Any]], Path]) -> Callable[..., Plan]:
    """Plan an experiment's content."""

    def made(content: dict[str, Any], *, scale: str | None = None, rows: tuple[str, ...] | None = None) -> Plan:
        return plan(read_experiment(write(content), scale), {}, rows)

    return made
