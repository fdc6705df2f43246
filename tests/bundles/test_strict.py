"""Mistyped keys are refused wherever a config is run from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import monai.bundle
import pytest

from vitad_med.bundles import plain_errors
from vitad_med.errors import ConfigError

CONFIG = "bundles/tiny/configs/train.json"


def run_bundle(config_file: Any = CONFIG, **override: Any) -> None:
    with plain_errors():
        monai.bundle.run(config_file=config_file, **override)


def run_workflow(config_file: Any = CONFIG, **override: Any) -> None:
    with plain_errors():
        workflow = monai.bundle.ConfigWorkflow(config_file=config_file, **override)
        workflow.initialize()
        workflow.run()


ENTRIES = pytest.mark.parametrize("entry", [run_bundle, run_workflow])


@ENTRIES
def test_a_right_override_runs(project: Path, entry: Any, capsys: pytest.CaptureFixture[str]) -> None:
    entry(epochs=5, **{"train#loader#batch": 8})
    assert (project / "trained").exists()
    assert f"epochs 5 into {project / 'outputs' / 'tiny'}" in capsys.readouterr().out


@ENTRIES
@pytest.mark.parametrize(
    ("key", "value", "suggestion"),
    [
        ("epoch", 1, "did you mean '--epochs'?"),
        ("dataset-dir", "x", "did you mean '--dataset_dir'?"),
        ("train#trainer#max_epoch", 3, "did you mean '--train#trainer#max_epochs'?"),
        ("train::loader::bach", 3, "did you mean '--train#loader#batch'?"),
        ("train#handlers#0#intervall", 3, "did you mean '--train#handlers#0#interval'?"),
        ("train#optimiser", {}, "'train' has trainer, loader, handlers"),
        ("config_fil", "x", "did you mean '--config_file'?"),
        ("qqq", 1, "its settings are bundle_root, dataset_dir"),
    ],
)
def test_an_unknown_key_is_refused(project: Path, entry: Any, key: str, value: Any, suggestion: str) -> None:
    with pytest.raises(ConfigError) as caught:
        entry(**{key: value})
    message = str(caught.value)
    assert f"'--{key.replace('::', '#')}'" in message
    assert suggestion in message
    assert "\n" not in message
    assert not (project / "trained").exists()


@ENTRIES
def test_a_stacked_file_may_set_only_declared_keys(project: Path, entry: Any) -> None:
    good, bad = project / "good.json", project / "bad.json"
    good.write_text(json.dumps({"category": "screw", "train#loader#batch": 2}))
    bad.write_text(json.dumps({"catgory": "screw"}))
    entry([CONFIG, str(good)])
    assert (project / "trained").exists()
    (project / "trained").unlink()
    with pytest.raises(ConfigError, match=r"catgory'.*did you mean '--category'"):
        entry([CONFIG, str(good), str(bad)])
    assert not (project / "trained").exists()


def test_the_stacked_file_with_the_wrong_key_is_named(project: Path) -> None:
    bad = project / "bad.json"
    bad.write_text(json.dumps({"train": {"trainer": {"max_epochs": 3}}}))
    with pytest.raises(ConfigError, match=r"bad\.json' replaces the whole block 'train' and loses 'loader'"):
        run_bundle([CONFIG, str(bad)])
    bad.write_text(json.dumps({"train#trainer": {"_target_": "builtins.dict", "max_epochs": 3}}))
    with pytest.raises(ConfigError, match=r"bad\.json' replaces the whole block 'train#trainer' and loses 'amp'"):
        run_bundle([CONFIG, str(bad)])
    bad.write_text(json.dumps({"train#loader": 3}))
    with pytest.raises(ConfigError, match=r"bad\.json' puts one value in place of the block 'train#loader'"):
        run_bundle([CONFIG, str(bad)])
    bad.write_text(json.dumps({"train#loader#bach": 3}))
    with pytest.raises(ConfigError, match=r"bad\.json' sets 'train#loader#bach'.*'--train#loader#batch'"):
        run_bundle([CONFIG, str(bad)])


def test_wrong_keys_of_an_arguments_file_are_refused(project: Path) -> None:
    (project / "arguments.json").write_text(json.dumps({"config_file": CONFIG, "epochs": 3, "sed": 1}))
    with pytest.raises(ConfigError, match="did you mean '--seed'"), plain_errors():
        monai.bundle.run(args_file="arguments.json")


def test_a_replaced_component_brings_its_own_arguments(project: Path) -> None:
    run_bundle(**{"train#trainer": {"_target_": "collections.OrderedDict", "max_epochs": 1, "other": 2}})
    assert (project / "trained").exists()


def test_additions_that_are_allowed(project: Path) -> None:
    run_bundle(_note="mine", **{"train#handlers#0#_disabled_": True})
    assert (project / "trained").exists()


def test_an_override_of_none_is_not_lost_in_silence(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"--weights None would be ignored.*'none'"):
        run_bundle(weights=None)


def test_the_bundle_is_found_through_bundle_root(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ConfigError, match="give --bundle_root"):
        run_bundle(str(project / CONFIG))
    run_bundle(str(project / CONFIG), bundle_root=str(project / "bundles" / "tiny"))
    assert (elsewhere / "trained").exists()


def test_a_config_of_another_bundle_is_refused(project: Path) -> None:
    other = project / "other.json"
    other.write_text(
        json.dumps({"bundle_root": "bundles/tiny", "initialize": json.loads(Path(CONFIG).read_text())["initialize"]})
    )
    with pytest.raises(ConfigError, match=r"give 'tiny/configs/train\.json' first in --config_file"):
        run_bundle(str(other))


def test_monai_tracking_flag_is_answered(project: Path) -> None:
    with pytest.raises(ConfigError, match="--tracking_uri"):
        run_bundle(tracking="mlflow", output_dir=str(project / "out"))
    assert not (project / "trained").exists()
