"""A report in a real MLflow sqlite store."""

from __future__ import annotations

import getpass
import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

from vitad_med.bundles.track_report import REPORT_FILES, report_params, track_report
from vitad_med.bundles.tracked_numbers import metric_name, report_numbers
from vitad_med.errors import ConfigError
from vitad_med.reporting.document.document import check_report

Build = Callable[[], dict[str, Any]]


@pytest.fixture(scope="module")
def samples(repo_root: Path) -> dict[str, Build]:
    module = runpy.run_path(str(repo_root / "tests" / "reporting" / "sample_report.py"))
    return {name: module[name] for name in ("sample_report", "without_localization", "suppressed")}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that MLflow has just created, which takes it seconds; tests start from copies."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def out(tmp_path: Path, empty_store: Path) -> Path:
    """A report's folder with its files and a store."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name in REPORT_FILES:
        (folder / name).write_text(name)
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


def run_of(out: Path, run_id: str | None) -> Run:
    assert run_id is not None
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{out / 'mlflow.db'}").get_run(run_id)


def artifacts(out: Path) -> set[str]:
    return {path.name for path in (out / "mlflow").rglob("*") if path.is_file()}


def test_figures_settings_and_files_are_there(samples: dict[str, Build], out: Path) -> None:
    report = check_report(samples["sample_report"]())
    run = run_of(out, track_report(report, out, tracking_uri="sqlite"))
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "report"
    metrics = run.data.metrics
    assert metrics["all/image_auroc"] == 0.628
    assert metrics["all/image_auroc.low"] == pytest.approx(0.598)
    assert metrics["sex-F/view-AP/conditioned_auroc"] == pytest.approx(0.482)
    assert metrics["all/operating/alarms_per_100.high"] == pytest.approx(13.33)
    assert metrics["sex-M/null/brightness/conditioned_auroc"] == 0.575
    assert metrics["sex-M/difference/brightness inverted"] == pytest.approx(0.107)
    assert metrics["scanner-A_B/n_images"] == 9
    assert "all/null/box_prior/conditioned_auroc" not in metrics
    assert metrics.keys() == report_numbers(report).keys()
    params = run.data.params
    assert (params["replicates"], params["cohorts"]) == ("2000", "sex,view,sex:view,scanner")
    assert (params["method.model_digest"], params["data.name"]) == ("5e1f" * 16, "nih_chestxray14")
    assert artifacts(out) == set(REPORT_FILES)
    tracked = json.dumps([params, dict(run.data.tags)])
    for secret in (str(out), str(Path.home()) + "/", getpass.getuser() + "@"):
        assert secret not in tracked
    assert not any(tag.startswith(("mlflow.user", "mlflow.source")) for tag in run.data.tags)
    assert not Path("mlruns").exists()


def test_pages_and_pictures_of_other_data_stay(samples: dict[str, Build], out: Path) -> None:
    report = check_report(samples["suppressed"]())
    run = run_of(out, track_report(report, out, tracking_uri="sqlite"))
    assert artifacts(out) == set(REPORT_FILES) - {"report.html"}
    assert "scanner-A_B/n_images" not in run.data.metrics
    (out / "worklist.PNG").write_bytes(b"picture")
    track_report(report, out, tracking_uri="sqlite", files=[out / "worklist.PNG", out / "report.html"])
    assert not {"worklist.PNG", "report.html"} & artifacts(out)


def test_a_report_with_little_in_it_is_tracked(samples: dict[str, Build], out: Path) -> None:
    report = check_report(samples["without_localization"]())
    run = run_of(out, track_report(report, out, tracking_uri="sqlite", files=[]))
    assert run.info.status == "FINISHED"
    assert run.data.metrics["all/image_auroc"] == 0.628
    assert "all/conditioned_auroc" not in run.data.metrics
    assert run.data.params["created"] == "not recorded"
    assert not (out / "mlflow").exists() or artifacts(out) == set()


def test_more_numbers_than_fit_one_batch_arrive(samples: dict[str, Build], out: Path) -> None:
    report = samples["sample_report"]()
    for number in range(20):
        report["cohorts"][f"site={number}"] = report["cohorts"]["sex=M"]
    numbers = report_numbers(check_report(report))
    assert len(numbers) > 2000
    run = run_of(out, track_report(check_report(report), out, tracking_uri="sqlite", files=[]))
    assert run.data.metrics.keys() == numbers.keys()


def test_every_name_that_a_cohort_can_have_is_taken(samples: dict[str, Build], out: Path) -> None:
    report = samples["sample_report"]()
    names = ["age=65+", "scanner=A%2CB (old) é", "x=..", "x=/etc/passwd", "x=a//b", "unit=mg/dl,sex=F"]
    for name in names:
        report["cohorts"][name] = report["cohorts"]["sex=M"]
    run = run_of(out, track_report(check_report(report), out, tracking_uri="sqlite", files=[]))
    assert run.info.status == "FINISHED"
    assert run.data.metrics["age-65plus/image_auroc"] == pytest.approx(0.618)
    assert {f"{metric_name(name)}/image_auroc" for name in names} <= run.data.metrics.keys()
    assert len({metric_name(name) for name in names}) == len(names)


def test_the_key_decides_where_it_goes(
    samples: dict[str, Build], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    report = check_report(samples["sample_report"]())
    assert track_report(report, out, tracking_uri="none") is None
    assert artifacts(out) == set()
    track_report(report, out, tracking_uri="sqlite", files=[out / "report.json", out / "absent.json"])
    assert artifacts(out) == {"report.json"}
    assert not (tmp_path / "other.db").exists()


def test_stores_that_do_not_work_are_named_with_the_remedy(
    samples: dict[str, Build], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = check_report(samples["sample_report"]())
    with pytest.raises(ConfigError, match="--tracking_uri is 'mlruns'"):
        track_report(report, tmp_path, tracking_uri="mlruns")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError, match="--tracking_uri none"):
        track_report(report, tmp_path, tracking_uri="http://127.0.0.1:9")


def test_no_parameter_tells_a_path(samples: dict[str, Build]) -> None:
    report = samples["sample_report"]()
    report["method"]["name"] = "/home/jones/methods/best"
    assert "jones" not in json.dumps(report_params(check_report(report)))
