"""`scripts/guard_catch_rate.py` on a small experiment's folder whose audit was written by the real log."""

from __future__ import annotations

import csv
import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vitad_med.adaptation.audit import AuditLog
from vitad_med.adaptation.guard import GuardReading

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "guard_catch_rate.py"


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def steps(audit: AuditLog, outside: set[int], first: int = 1, last: int = 4) -> None:
    """Lines of updates ``first`` to ``last``, counted from 1; batches are counted from 0."""
    for step in range(first, last + 1):
        reason = "auroc .500 below .800" if step in outside else None
        reading = GuardReading(auroc=0.5 if reason else 0.9, mean_score=0.4, reason=reason)
        audit.step(step - 1, "0" * 16, 16, (8, 8), 0.1, 1.0, "kept", reading)


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """One finished stream of 40 images that the adapted model loses: it scores at random what the source separates."""
    folder = tmp_path / "out"
    step = folder / "steps" / "adapt-0123456789ab"
    step.mkdir(parents=True)
    result = {"step": step.name, "row": "tent", "data": "nih", "seed": 0}
    (folder / "results.json").write_text(json.dumps({"results": [result, result]}))
    (step / "done.json").write_text("{}")
    summary = {"guard": "observe", "mode": "online", "shift": "none", "readings": 4, "alarms": 2}
    summary["learning_rate"] = 0.0005
    (step / "adaptation.json").write_text(json.dumps(summary))
    names = [f"{number}.png" for number in range(40)]
    images = [{"case_id": name, "patient_id": name, "label": number % 2} for number, name in enumerate(names)]
    write_table(step / "images.csv", images)
    scores = [
        {"image": name, "source": number % 2 + number / 100, "after_step": number // 2 % 2}
        for number, name in enumerate(names)
    ]
    write_table(step / "scores.csv", scores)
    return folder


@pytest.fixture
def report(experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the script as a command does."""

    def printed(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", [SCRIPT.name, str(experiment), *options])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    return printed


def test_only_the_last_run_of_the_log_counts(experiment: Path, report: Callable[..., str]) -> None:
    audit = AuditLog(experiment / "steps" / "adapt-0123456789ab" / "audit.jsonl")
    audit.write("start")
    steps(audit, outside={1, 2})
    audit.write("start")
    steps(audit, outside=set(), last=2)
    audit.write("resume")  # goes on with the same run
    steps(audit, outside={3, 4}, first=3)
    audit.write("finish")
    shown = report()
    [line] = [line for line in shown.splitlines() if line.startswith("| tent, nih, seed 0 |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:3] == ["1.000", "0.500"]
    assert cells[4:] == ["lost", "2 of 4", "3"]


def test_the_rates_are_counts_and_it_says_why(experiment: Path, report: Callable[..., str]) -> None:
    audit = AuditLog(experiment / "steps" / "adapt-0123456789ab" / "audit.jsonl")
    audit.write("start")
    steps(audit, outside={3, 4})
    shown = report()
    assert "- lost streams that the guard caught: 1 of 1\n" in shown
    assert "cried wolf): 0 of 0\n" in shown
    assert "- readings outside the range on unshifted online streams: 2 of 4\n" in shown
    assert "so they are not independent" in shown
    assert "95 %" not in shown


def test_a_stream_that_two_experiments_share_counts_once(experiment: Path, report: Callable[..., str]) -> None:
    audit = AuditLog(experiment / "steps" / "adapt-0123456789ab" / "audit.jsonl")
    audit.write("start")
    steps(audit, outside={3, 4})
    again = experiment.parent / "again"
    shutil.copytree(experiment, again)
    assert report(str(again)) == report()


def test_streams_at_another_rate_are_shown_and_not_counted(experiment: Path, report: Callable[..., str]) -> None:
    audit = AuditLog(experiment / "steps" / "adapt-0123456789ab" / "audit.jsonl")
    audit.write("start")
    steps(audit, outside={3, 4})
    shown = report("--rate", "0.05")
    assert "| tent, nih, seed 0 | 1.000 |" in shown
    assert "Of the 0 streams at a learning rate of 0.05:" in shown
    assert "unshifted online streams: 0 of 0\n" in shown
