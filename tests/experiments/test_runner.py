"""What is missing is run once; a failure stays with its rows; the process is left as it was."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitad_med.errors import ConfigError
from vitad_med.experiments import Plan, missing_steps, run
from vitad_med.experiments.lock import locked
from vitad_med.experiments.records import DONE, FAILED, step_folder
from vitad_med.experiments.runner import time_left

Planned = Callable[..., Plan]


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def calls(out: Path, step: str) -> int:
    """How often a step was started."""
    return len((step_folder(out, step) / "calls.txt").read_text())


def step_of(made: Plan, row: str, name: str, seed: int = 0) -> str:
    return next(c.steps[name] for c in made.contexts if (c.row.name, c.seed) == (row, seed))


def test_each_step_is_run_once_and_never_again(content: dict[str, Any], planned: Planned, tmp_path: Path) -> None:
    made, out, said = planned(content), tmp_path / "out", []
    assert missing_steps(made, out) == list(made.steps)
    outcome = run(made, out, "none", said.append)
    assert outcome.failures == {}
    assert outcome.unread == 0
    assert {calls(out, step) for step in made.steps} == {1}
    assert said[0].startswith("11 of 11 steps to run")
    assert said[1].startswith(f"[1/11] {next(iter(made.steps))}: low, first, seed 0")
    table = (out / "table.csv").read_bytes()
    assert missing_steps(made, out) == []
    run(made, out, "none", quiet)
    assert {calls(out, step) for step in made.steps} == {1}
    assert (out / "table.csv").read_bytes() == table


def test_only_the_rows_asked_for_are_run_and_the_others_stay_in_the_table(
    content: dict[str, Any], planned: Planned, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(planned(content, rows=("low",)), out, "none", quiet)
    outcome = run(planned(content, rows=("high",)), out, "none", quiet)
    cells = {label: row[0] for label, row in outcome.tables.grids[0].rows}
    assert "." in cells["low rate"]
    assert "." in cells["high"]
    assert cells["doubled"] == cells["shipped"] == "not run"


def test_deleted_results_that_only_finished_steps_needed_are_not_made_again(
    content: dict[str, Any], planned: Planned, tmp_path: Path
) -> None:
    made, out = planned(content), tmp_path / "out"
    run(made, out, "none", quiet)
    train, evaluate = step_of(made, "high", "train"), step_of(made, "high", "evaluate")
    (step_folder(out, train) / DONE).unlink()
    assert missing_steps(made, out) == []
    (step_folder(out, evaluate) / DONE).unlink()
    assert missing_steps(made, out) == [train, evaluate]


def test_a_done_record_of_another_digest_does_not_count(
    content: dict[str, Any], planned: Planned, tmp_path: Path
) -> None:
    made, out = planned(content), tmp_path / "out"
    run(made, out, "none", quiet)
    step = step_of(made, "high", "evaluate")
    record = step_folder(out, step) / DONE
    content_of = json.loads(record.read_text())
    record.write_text(json.dumps({**content_of, "digest": content_of["digest"][:12] + "0" * 52}))
    assert missing_steps(made, out) == [step]


@pytest.mark.parametrize(
    ("fault", "sentence"), [("data", "image 'path:"), ("defect", "RuntimeError: ")], ids=["mendable", "defect"]
)
def test_a_step_that_fails_stays_with_its_rows(
    content: dict[str, Any], planned: Planned, tmp_path: Path, fault: str, sentence: str
) -> None:
    content["rows"]["high"]["overrides"]["train"]["fault"] = fault
    made, out, said = planned(content), tmp_path / "out", []
    outcome = run(made, out, "none", said.append)
    trained, evaluated = step_of(made, "high", "train"), step_of(made, "high", "evaluate")
    assert outcome.failures.keys() >= {trained, evaluated}
    assert len(outcome.failures) == 4  # two seeds
    assert any("left out, needs " + trained in line for line in said)
    cells = {label: row[0] for label, row in outcome.tables.grids[0].rows}
    assert cells["high"] == "failed (1)"
    assert "." in cells["low rate"]
    assert outcome.tables.footnotes[0].startswith(f"train: {sentence}")
    written = "".join((out / name).read_text() for name in ("table.md", "table.csv", "results.csv", "results.json"))
    assert "somebody" not in written
    assert "Traceback" in (step_folder(out, trained) / "log.txt").read_text()
    # It is tried again.
    assert trained in missing_steps(made, out)
    run(made, out, "none", quiet)
    assert calls(out, trained) == 2
    assert (step_folder(out, trained) / FAILED).is_file()


def test_why_a_step_failed_on_private_data_is_not_told(
    content: dict[str, Any], planned: Planned, tmp_path: Path
) -> None:
    content["steps"]["train"]["overrides"] |= {"data": "image_folder", "fault": "data"}
    made, out = planned(content, rows=("low",)), tmp_path / "out"
    outcome = run(made, out, "none", quiet)
    step = step_of(made, "low", "train")
    assert f"train: failed; the reason is in steps/{step}/log.txt" in outcome.tables.footnotes
    assert "0001.png" in (step_folder(out, step) / "log.txt").read_text()
    assert "0001.png" not in (out / "results.json").read_text()


def test_a_figure_that_is_not_there_is_a_failure_and_a_null_with_a_reason_is_not(
    content: dict[str, Any], planned: Planned, tmp_path: Path
) -> None:
    content["metrics"] |= {
        "absent": {"step": "evaluate", "path": "cohorts#all#metrics#aurok#value"},
        "word": {"step": "evaluate", "path": "list#1"},
        "listed": {"step": "evaluate", "path": "list#0"},
        "no_file": {"step": "evaluate", "file": "absent.json", "path": "x"},
    }
    outcome = run(planned(content, rows=("shipped",)), tmp_path / "out", "none", quiet)
    assert outcome.failures == {}
    assert outcome.unread == 3 * 2  # two seeds
    [(_, cells)] = [row for row in outcome.tables.grids[0].rows if row[0] == "shipped"]
    shown = dict(zip(outcome.tables.grids[0].heads, cells, strict=True))
    assert shown["listed"] == "0.250"
    assert shown["women"] == "- (1)"
    assert outcome.tables.footnotes[0] == "too few patients"
    assert all(shown[name].startswith("failed (") for name in ("absent", "word", "no_file"))


def test_the_process_is_left_as_it_was(
    content: dict[str, Any], planned: Planned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = planned(content, rows=("low",))
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.path[:], sys.stdout, sys.stderr, sys.excepthook, warnings.filters[:])
    run(made, tmp_path / "out", "none", quiet)
    after = (root.handlers[:], root.level, sys.path[:], sys.stdout, sys.stderr, sys.excepthook, warnings.filters[:])
    assert after == before
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
    log = (step_folder(tmp_path / "out", step_of(made, "low", "train")) / "log.txt").read_text()
    assert "step 3" in log
    assert "input summary" in log


def test_results_name_no_folder_of_this_machine(content: dict[str, Any], planned: Planned, tmp_path: Path) -> None:
    given = tmp_path / "repository" / "bundles" / "tiny" / "models" / "model.json"
    content["rows"]["shipped"]["overrides"]["evaluate"]["weights"] = str(given)
    made, out = planned(content), tmp_path / "out"
    run(made, out, "none", quiet)
    assert all(step.public for step in made.steps.values())
    for file in (*out.glob("steps/*/done.json"), *out.glob("*.json"), *out.glob("*.csv"), *out.glob("table.*")):
        assert str(tmp_path) not in file.read_text(), file
    record = json.loads((step_folder(out, step_of(made, "shipped", "evaluate")) / DONE).read_text())
    assert record["inputs"]["overrides"]["weights"].startswith("file:")
    assert len(record["inputs"]["dataset"]) == 64


def test_results_do_not_go_into_the_data(content: dict[str, Any], planned: Planned, repository: Path) -> None:
    with pytest.raises(ConfigError, match=r"lies in the data set's folder .*give --out another folder"):
        run(planned(content), repository / "images" / "out", "none", quiet)
    assert not list((repository / "images").iterdir())


def test_an_unfinished_step_goes_on_in_its_folder(content: dict[str, Any], planned: Planned, tmp_path: Path) -> None:
    made, out = planned(content), tmp_path / "out"
    folder = step_folder(out, step_of(made, "low", "train"))
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").write_text('{"step": 4, "sum": 8.0}')
    run(made, out, "none", quiet)
    assert json.loads((folder / "model.json").read_text())["value"] == 2.5


def in_child(entered: contextlib.AbstractContextManager[None]) -> int:
    """Enter the context in a fork of this process, which stays there until it is killed; its id, once it is inside."""
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        with entered:
            os.write(done, b"x")
            time.sleep(600)
    os.close(done)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_two_runners_in_one_folder_are_refused_and_a_killed_one_leaves_no_lock(
    content: dict[str, Any], planned: Planned, tmp_path: Path
) -> None:
    made, out = planned(content, rows=("shipped",)), tmp_path / "out"
    holder = in_child(locked(out))
    try:
        with pytest.raises(ConfigError, match=rf"another run \(process {holder}\) works in"):
            run(made, out, "none", quiet)
    finally:
        kill(holder)
    assert (out / ".lock").is_file()
    assert run(made, out, "none", quiet).failures == {}


def test_a_worker_that_outlives_its_runner_does_not_keep_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path):
        worker = in_child(contextlib.nullcontext())  # what a data loader's worker is
    try:
        with locked(tmp_path):
            pass
    finally:
        kill(worker)


def test_time_left(content: dict[str, Any], planned: Planned) -> None:
    made = planned(content)
    steps = [step_of(made, "low", "train"), step_of(made, "low", "evaluate"), step_of(made, "high", "evaluate")]
    assert time_left(made, steps, {}) == ""
    assert time_left(made, steps, {"train": [10.0, 20.0], "evaluate": [5.0]}) == " about 25 s left"
    assert time_left(made, steps, {"train": [100.0, 200.0]}) == " about 8 min left (a guess)"
