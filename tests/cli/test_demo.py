"""`vitad-med demo` refuses what it cannot run, and runs what `make demo` promises."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vitad_med.cli import main
from vitad_med.cli.demo import repository_root
from vitad_med.errors import ConfigError


def test_an_installation_without_bundles_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="clone"):
        repository_root(tmp_path / "site-packages" / "vitad_med")


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--epochs", "0"], "epochs"), (["--device", "toaster"], "device"), (["--seed", "-1"], "seed")],
)
def test_impossible_values_are_the_users_mistake(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--output_dir", str(tmp_path / "out"), *words]) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("error: ")
    assert expected in shown
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.slow
def test_ctrl_c_in_training_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vitad_med.cli", "demo", "--output_dir", str(tmp_path / "out"), "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        shown = []
        for line in process.stdout:
            shown.append(line)
            if "engines.progress: epoch 1/" in line and sum("engines.progress" in one for one in shown) == 1:
                process.send_signal(signal.SIGINT)  # once: a second would interrupt the farewell too
        status = process.wait()
    # The interrupt passes through MONAI's eval(), after which Python ends by the signal itself: 130 too, in a shell.
    assert status in (130, -signal.SIGINT), "".join(shown)
    assert shown[-1].startswith("interrupted: repeat the command")
    assert not any("Traceback" in line for line in shown)


@pytest.mark.slow
def test_demo_trains_evaluates_and_says_where_the_results_lie(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(["demo", "--epochs", "1", "--output_dir", str(output), "--device", "cpu"]) == 0
    shown = capfd.readouterr().out
    document = json.loads((output / "metrics.json").read_text())
    assert {"all", "sex=M", "sex=F"} <= document["cohorts"].keys()
    for word in ("this method", "centre blob", "men: 16 images", "women: 16 images", str(output), "metrics.json"):
        assert word in shown
    report = json.loads((output / "report" / "report.json").read_text())
    assert report["operating_point"]["threshold"] is not None
    assert (output / "report" / "report.html").is_file()
