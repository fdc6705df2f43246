"""`python -m monai.bundle run`, unchanged: exit statuses, one sentence, nothing written.

The run that Ctrl-C ends is a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm import Warm

CONFIG = "bundles/tiny/configs/train.json"
# name: (arguments after `run`, exit status, what the last line on stderr holds)
COMMANDS: dict[str, tuple[list[str], int, str]] = {
    "right": (["--config_file", CONFIG, "--epochs", "4"], 0, ""),
    "mistyped": (["--config_file", CONFIG, "--epoch", "1"], 2, "did you mean '--epochs'?"),
    "dashes": (["--config_file", CONFIG, "--image-size", "96"], 0, ""),
    "nested": (["--config_file", CONFIG, "--train#trainer#max_epoch", "3"], 2, "'--train#trainer#max_epochs'?"),
    "stacked": (["--config_file", f"['{CONFIG}','mvtec.json']"], 2, "'mvtec.json' sets 'catgory'"),
    "arguments_file": (["--args_file", "arguments.json", "--epochs", "2"], 2, "did you mean '--seed'?"),
    "value": (["--config_file", CONFIG, "--amp", "yes"], 2, "--amp is 'yes', but must be True or False"),
    "none": (["--config_file", CONFIG, "--weights", "None"], 2, "write the text 'none'"),
    "unknown_block": (["--config_file", CONFIG, "--trian#trainer#max_epochs", "3"], 1, "trian"),
    "bug": (["--config_file", CONFIG, "--marker", "$1 / 0"], 1, "Failed to evaluate"),
}


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


Outcomes = dict[str, tuple[int, str, str, list[str]]]


@pytest.fixture(scope="module")
def outcomes(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Exit status, stdout, stderr and the files left behind of each of COMMANDS."""
    base = tmp_path_factory.mktemp("commands")
    given = {"bundles", "mvtec.json", "arguments.json"}
    found = {}
    for name, (arguments, _, _) in COMMANDS.items():
        folder = base / name
        (folder / "bundles/tiny/configs").mkdir(parents=True)
        (folder / CONFIG).write_text(json.dumps(tiny_config()))
        (folder / "mvtec.json").write_text(json.dumps({"category": "screw", "catgory": "screw"}))
        (folder / "arguments.json").write_text(json.dumps({"config_file": CONFIG, "sed": 3}))
        done = warm.run([sys.executable, "-m", "monai.bundle", "run", *arguments], folder, environment())
        left = sorted({path.name for path in folder.iterdir()} - given)
        found[name] = (done.returncode, done.stdout, done.stderr, left)
    return found


def tiny_config() -> dict[str, object]:
    return {
        "bundle_root": "bundles/tiny",
        "epochs": 2,
        "seed": 0,
        "amp": False,
        "image_size": 224,
        "weights": "none",
        "category": None,
        "train": {"trainer": {"_target_": "builtins.dict", "max_epochs": "@epochs"}},
        "marker": {"_target_": "pathlib.Path.touch", "self": "$__import__('pathlib').Path('trained')"},
        "initialize": [{"_target_": "vitad_med.bundles.start", "bundle_root": "@bundle_root", "config": "train.json"}],
        "run": ["@marker", "$print('epochs', @train#trainer['max_epochs'])"],
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_exit_status_and_last_line(outcomes: Outcomes, name: str) -> None:
    _, wanted_status, part = COMMANDS[name]
    status, stdout, stderr, left = outcomes[name]
    assert status == wanted_status, stderr
    if wanted_status == 0:
        assert "epochs " in stdout
        assert left == ["trained"]
        return
    last = stderr.strip().splitlines()[-1]
    assert left == []
    if wanted_status == 2:
        assert last.startswith("error: ")
        assert part in last
        assert "Traceback" not in stderr
    else:
        assert "Traceback" in stderr  # MONAI's own refusal before the config is read, or a fault of the program
        assert part in stderr


def test_an_override_reaches_the_run(outcomes: Outcomes) -> None:
    assert "epochs 4" in outcomes["right"][1]


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    config = tiny_config() | {"run": ["$print('training', flush=True)", "$__import__('time').sleep(100)"]}
    (tmp_path / "bundles/tiny/configs").mkdir(parents=True)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    command = [sys.executable, "-u", "-m", "monai.bundle", "run", "--config_file", CONFIG]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert any("training" in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 130
    assert stderr.strip().splitlines()[-1] == "interrupted: repeat the command to go on from the last checkpoint"
    assert "Traceback" not in stderr
