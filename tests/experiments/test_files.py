"""Every file in configs/experiments is valid at every scale, and the keys that it sets exist in the bundles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitad_med.errors import ConfigError
from vitad_med.experiments import plan, read_experiment

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(ROOT.glob("configs/experiments/*.json"))
SCALED = [(file, scale) for file in FILES for scale in (None, *json.loads(file.read_text()).get("scales", {}))]


def test_there_are_experiments() -> None:
    assert {file.stem for file in FILES} >= {"demo", "bmvc2022_tta"}


@pytest.mark.parametrize(("file", "scale"), SCALED, ids=[f"{file.stem}-{scale}" for file, scale in SCALED])
def test_an_experiment_can_be_planned(file: Path, scale: str | None, tmp_path: Path) -> None:
    experiment = read_experiment(file, scale)
    # Any folder will do: the images are read when a step runs.
    folders = {data.family: str(tmp_path) for data in experiment.data.values() if data.dataset_dir is None}
    made = plan(experiment, folders)
    assert made.steps
    assert {context.row.name for context in made.contexts if context.steps} == set(experiment.rows)
    read = {(metric.step, metric.file) for metric in experiment.metrics.values()}
    assert read  # a table without figures tells nothing
    assert experiment.seeds_vary  # a standard error tells nothing without it


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_key_that_no_bundle_has_is_refused(file: Path, tmp_path: Path) -> None:
    content = json.loads(file.read_text())
    step = next(iter(content["steps"].values()))
    step["overrides"]["epohcs"] = 1
    folder = tmp_path / "configs"
    folder.mkdir()
    for name in ("bundles", "configs/datasets", "configs/recipes", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "x.json").write_text(json.dumps(content))
    experiment = read_experiment(tmp_path / "x.json")
    with pytest.raises(ConfigError, match="epohcs"):
        plan(experiment, {name: str(tmp_path) for name in experiment.families()})
