"""A runner that is killed or interrupted, and started again, ends with the table of one that was not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitad_med.cli import main

FILES = ("results.csv", "table.csv", "table.md", "table.tex")


@pytest.fixture
def slow(content: dict[str, Any], write: Callable[[dict[str, Any]], Path]) -> Path:
    """The experiment with steps that take long enough to be caught in."""
    content["steps"]["train"]["overrides"] |= {"steps": 10, "wait": 0.1}
    return write(content)


def start_and_stop(file: Path, out: Path, stop: signal.Signals) -> tuple[int, str]:
    """Start a runner and stop it in the middle of its second training."""
    command = [sys.executable, "-m", "vitad_med.cli", "experiment", "run", str(file), "--out", str(out)]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([*command, "--tracking_uri", "none"], cwd=root, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while len(list(out.glob("steps/train-*/checkpoint.json"))) < 2 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_the_table_is_that_of_a_run_that_was_not_stopped(slow: Path, tmp_path: Path, stop: signal.Signals) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    status, errors = start_and_stop(slow, out, stop)
    if stop is signal.SIGINT:
        # The interrupt passes through MONAI's eval(), after which Python ends by the signal itself: 130 in a shell.
        assert status in (130, -signal.SIGINT)
        assert errors.splitlines()[-1] == "interrupted: repeat the command to go on; finished steps are not run again"
    else:
        assert status == -signal.SIGKILL
    unfinished = [folder for folder in out.glob("steps/train-*") if not (folder / "done.json").exists()]
    assert len(unfinished) == 1
    command = ["experiment", "run", str(slow), "--tracking_uri", "none", "--out"]
    assert main([*command, str(out)]) == 0
    assert (unfinished[0] / "calls.txt").read_text() == "xx"
    # Its own checkpoint was taken up: no step was done twice.
    assert (unfinished[0] / "log.txt").read_text().count("step 0\n") == 1
    assert main([*command, str(whole)]) == 0
    for name in FILES:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
