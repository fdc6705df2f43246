"""Tracking in a real MLflow sqlite store, with a real ignite engine, built by a real bundle config."""

from __future__ import annotations

import getpass
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from ignite.engine import Engine, Events
from mlflow.entities import Run
from monai.bundle import ConfigParser

from vitad_med.bundles import TrackingHandler, plain_errors, track
from vitad_med.bundles.tracked_numbers import document_numbers, flat_numbers
from vitad_med.errors import ConfigError, DataError

PATIENT = "00000013_005"
DOCUMENT = {
    "schema": "vitad_med/metrics/2",
    "cohorts": {
        "sex=F,view=PA": {
            "n_images": 3,
            "metrics": {
                "pixel_auroc": {"value": 0.75, "low": 0.7, "high": 0.8, "n": 3, "reason": None},
                "pixel_ap": {"value": None, "low": None, "high": None, "n": 0, "reason": "no boxes"},
            },
            "nulls": {"centre_blob": {"pixel_auroc": 0.8}},
        }
    },
}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that MLflow has just created, which takes it seconds; tests start from copies."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def folder(tmp_path: Path, empty_store: Path) -> Path:
    (tmp_path / "out").mkdir()
    shutil.copy(empty_store, tmp_path / "out" / "mlflow.db")
    return tmp_path


def make_handler(folder: Path, **changes: Any) -> TrackingHandler:
    """What MONAI builds from a config's handler entry."""
    parser = ConfigParser(
        {
            "epochs": 3,
            "amp": False,
            "weights": str(Path.home() / "weights.pth"),
            "dataset_dir": str(folder / "images"),
            "elsewhere": "/srv/hospital/images",
            "tracking_uri": "sqlite",
            "output_dir": str(folder / "out"),
            "network": {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1},
            "tracker": {
                "_target_": "vitad_med.bundles.track",
                "tracking_uri": "@tracking_uri",
                "output_dir": "@output_dir",
                "bundle_root": str(folder / "tiny"),
                "kind": "train",
                "data": "nih_chestxray14",
                "split_digest": "abc123",
            },
        }
    )
    parser.update({f"tracker#{key}" if key not in parser else key: value for key, value in changes.items()})
    with plain_errors():
        handler = parser.get_parsed_content("tracker")
    assert isinstance(handler, TrackingHandler)
    return handler


def train(handler: TrackingHandler, epochs: int, *, start_epoch: int = 0, stop_after: int | None = None) -> None:
    """A tiny engine that reports a falling loss; optionally taken up at an epoch, or broken off."""
    engine = Engine(lambda engine, batch: batch)

    @engine.on(Events.STARTED)
    def resume() -> None:
        engine.state.epoch = start_epoch

    @engine.on(Events.EPOCH_COMPLETED)
    def report() -> None:
        engine.state.metrics = {"loss": torch.tensor(1.0 / engine.state.epoch), "name": "x", "grad": {"norm": 2}}

    handler.attach(engine)

    @engine.on(Events.EPOCH_COMPLETED)
    def stop() -> None:
        if engine.state.epoch == stop_after:
            raise KeyboardInterrupt

    engine.run([0, 1], max_epochs=epochs)


def runs_of(folder: Path, name: str = "tiny") -> tuple[mlflow.MlflowClient, list[Run]]:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'out' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return client, client.search_runs([experiment.experiment_id])


def test_a_run_holds_what_is_needed_and_no_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    out = folder / "out"
    (out / "overlays").mkdir()
    (out / "overlays" / "best.png").write_bytes(b"picture")
    (out / "metrics.json").write_text(json.dumps(DOCUMENT))
    (out / "synthetic.json").write_text(json.dumps({"synthetic_image_auroc": 0.9, "synthesis": "x", "null": None}))
    files = {"metrics_file": out / "metrics.json", "figures_file": out / "synthetic.json"}
    train(make_handler(folder, **files, pictures=[str(out / "overlays")]), 3)

    client, [run] = runs_of(folder)
    params = run.data.params
    assert run.info.status == "FINISHED"
    assert (params["epochs"], params["amp"], params["split_digest"]) == ("3", "False", "abc123")
    assert (params["dataset_dir"], params["output_dir"]) == ("images", "out")
    assert params["elsewhere"].startswith("path:")
    assert params["git_commit"] == "none"
    assert {"torch", "vitad_med"} <= params.keys()
    assert "tracking_uri" not in params
    losses = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "loss")}
    assert losses == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})
    assert run.data.metrics["grad/norm"] == 2
    assert run.data.metrics["sex-F/view-PA/pixel_auroc"] == 0.75
    assert run.data.metrics["synthetic_image_auroc"] == 0.9
    assert run.data.metrics["sex-F/view-PA/null/centre_blob/pixel_auroc"] == 0.8

    files = {path.name: path for path in (out / "mlflow").rglob("*") if path.is_file()}
    assert {"config.json", "best.png", "metrics.json", "synthetic.json"} <= files.keys()
    config = json.loads(files["config.json"].read_text())
    assert config["network"]["_target_"] == "torch.nn.Linear"
    assert config["weights"].startswith("path:")
    assert not (folder / "mlruns").exists()
    tracked = json.dumps([params, dict(run.data.tags), config])
    for secret in (str(folder), str(Path.home()) + "/", "hospital", getpass.getuser() + "@"):
        assert secret not in tracked
    assert not any(tag.startswith(("mlflow.user", "mlflow.source")) for tag in run.data.tags)


def test_a_resumed_run_is_continued(folder: Path) -> None:
    first = make_handler(folder)
    with pytest.raises(KeyboardInterrupt):
        train(first, 3, stop_after=1)
    first._stopped_early()  # what the end of the process does
    client, [broken] = runs_of(folder)
    assert broken.info.status == "KILLED"

    train(make_handler(folder, epochs=4), 4, start_epoch=1)
    client, [run] = runs_of(folder)
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 4]
    assert run.data.params["epochs"] == "3"
    assert run.data.params["epochs.after_epoch_1"] == "4"

    train(make_handler(folder), 1)
    assert len(runs_of(folder)[1]) == 2


def test_experiment_and_run_can_be_named(folder: Path) -> None:
    train(make_handler(folder), 1)
    train(make_handler(folder, experiment="table 2", run_name="ours, seed 3"), 1)
    assert [run.info.run_name for run in runs_of(folder)[1]] == ["train"]
    assert [run.info.run_name for run in runs_of(folder, "table 2")[1]] == ["ours, seed 3"]


def test_a_run_of_another_kind_with_the_same_name_does_not_stand_in_the_way_of_resuming(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(make_handler(folder, run_name="seed 3"), 3, stop_after=2)
    train(make_handler(folder, run_name="seed 3", kind="evaluate"), 1)
    train(make_handler(folder, run_name="seed 3"), 3, start_epoch=2)
    client, runs = runs_of(folder)
    epochs = [[m.step for m in client.get_metric_history(run.info.run_id, "loss")] for run in runs]
    assert sorted(epochs) == [[1], [1, 2, 3]]


def test_pictures_of_other_data_stay(folder: Path) -> None:
    picture = folder / f"{PATIENT}.png"
    picture.write_bytes(b"picture")
    train(make_handler(folder, pictures=[str(picture)], data="ward_7"), 1)
    assert not list((folder / "out").rglob("*.png"))


def test_no_path_of_other_data_is_tracked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    train(make_handler(folder, data="ward_7", dataset_dir="JONES_MARY/study"), 1)
    _, [run] = runs_of(folder)
    assert run.data.params["dataset_dir"] == "withheld"
    [config] = (folder / "out" / "mlflow").rglob("config.json")
    assert "JONES" not in config.read_text() + json.dumps(run.data.params)


def test_the_key_decides_and_not_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'other.db'}")
    train(make_handler(folder), 1)
    assert len(runs_of(folder)[1]) == 1
    assert not (folder / "other.db").exists()


def test_a_fault_in_the_middle_does_not_stop_training(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    handler = make_handler(folder)
    engine = Engine(lambda engine, batch: batch)
    handler.attach(engine)

    @engine.on(Events.EPOCH_STARTED(once=2))
    def lose_the_table() -> None:
        with sqlite3.connect(folder / "out" / "mlflow.db") as database:
            database.execute("ALTER TABLE metrics RENAME TO gone")

    @engine.on(Events.ITERATION_COMPLETED)
    def report() -> None:
        engine.state.metrics = {"loss": 1.0}

    engine.run([0], max_epochs=3)
    assert engine.state.epoch == 3
    assert "not tracked" in caplog.text


def test_none_switches_off(tmp_path: Path) -> None:
    handler = track(tracking_uri="none", output_dir=tmp_path / "out", bundle_root=tmp_path, kind="train", data="mvtec")
    assert handler is None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/x", "postgres"])
def test_an_unsupported_store_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ConfigError, match="--tracking_uri is"):
        make_handler(tmp_path, tracking_uri=uri)


def test_a_silent_server_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    handler = make_handler(tmp_path, tracking_uri="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="--tracking_uri none"):
        train(handler, 1)


def test_numbers_of_nested_metrics() -> None:
    values = {"a": 1, "b": torch.tensor([2.0]), "c": torch.zeros(2), "d": True, "e": {"f=1": 0.5}, "g": None}
    assert flat_numbers(values) == {"a": 1.0, "b": 2.0, "e/f-1": 0.5}


def test_a_document_of_another_schema_is_refused() -> None:
    assert "sex-F/view-PA/pixel_ap" not in document_numbers(DOCUMENT)
    with pytest.raises(DataError, match="schema"):
        document_numbers({"schema": "other/1", "cohorts": {}})
