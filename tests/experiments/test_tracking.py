"""The table in a real MLflow store, beside the runs of the steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from vitad_med.errors import ConfigError
from vitad_med.experiments import Plan, run
from vitad_med.experiments.tracking import prepare


def test_means_and_files_are_one_run_that_a_second_run_continues(
    content: dict[str, Any], planned: Callable[..., Plan], tmp_path: Path
) -> None:
    made, out = planned(content), tmp_path / "out"
    for _ in range(2):
        outcome = run(made, out, "sqlite", lambda _: None)
    assert outcome.failures == {}
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{out / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("Arithmetic")
    assert experiment is not None
    assert experiment.artifact_location == (out / "mlflow").as_uri()
    [table] = client.search_runs([experiment.experiment_id])
    assert (table.info.run_name, table.info.status) == ("table", "FINISHED")
    assert table.data.metrics["first/shipped/auroc"] == 0.125
    assert {"first/low/auroc", "first/low/auroc.standard_error"} <= table.data.metrics.keys()
    assert "first/shipped/auroc.standard_error" not in table.data.metrics
    names = {file.path for file in client.list_artifacts(table.info.run_id)}
    assert names == {"results.csv", "table.csv", "results.json", "table.md", "table.tex"}
    assert not any(tag.startswith(("mlflow.user", "mlflow.source")) for tag in table.data.tags)


def test_a_store_that_cannot_be_opened_is_named_before_anything_runs(
    content: dict[str, Any], planned: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = planned(content)
    with pytest.raises(ConfigError, match="--tracking_uri is 'mlruns'"):
        prepare("mlruns", tmp_path, made)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError, match="--tracking_uri none"):
        run(made, tmp_path / "out", "http://127.0.0.1:9", lambda _: None)
    assert not (tmp_path / "out" / "steps").exists()
