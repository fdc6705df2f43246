"""`configs/experiments/demo.json` as its user runs it: on the embedded radiographs, tracked in MLflow."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import mlflow
import pytest

from vitad_med.cli import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_demonstration_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["experiment", "run", str(ROOT / "configs" / "experiments" / "demo.json"), "--out", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "conditioned" in shown
    with (out / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["state"] for line in lines} == {"value"}
    assert {(line["row"], line["n"]) for line in lines} >= {
        ("shipped", "1"),
        ("with_convolutions", "2"),
        ("adapted", "2"),
    }
    document = json.loads((out / "results.json").read_text())
    assert {"architecture", "epochs"} <= {difference["key"] for difference in document["differs_from_paper"]}
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{out / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(document["title"])
    assert experiment is not None
    names = [run.info.run_name for run in client.search_runs([experiment.experiment_id])]
    assert len(names) == len(document["steps"]) + 1
    assert "train: with_convolutions, nih_mini, seed 1" in names
    # A second run has nothing left to do and says the same.
    table = (out / "table.md").read_bytes()
    assert main(words) == 0
    assert "0 of 13 steps to run" in capsys.readouterr().out
    assert (out / "table.md").read_bytes() == table
