"""A cohort report in MLflow: the figures of every cohort, the settings, and the files that may leave the site."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from vitad_med.bundles.provenance import publishable, without_paths
from vitad_med.bundles.tracked_numbers import report_numbers
from vitad_med.bundles.tracking_store import artifact_location, is_off, key_decides, prepare_store, unusable
from vitad_med.reporting.document.types import Report

REPORT_FILES = ("report.json", "cohorts.csv", "model_card.md", "reporting_checklist.md", "report.html")
WITH_PICTURES = frozenset({".html", ".png", ".jpg", ".jpeg", ".svg"})
RUN_NAME = "report"
MAX_PARAM_LENGTH = 500
BATCH = 1000  # metrics that MLflow takes at once

logger = logging.getLogger(__name__)


def track_report(
    report: Report,
    folder: str | Path,
    *,
    tracking_uri: str,
    output_dir: str | Path | None = None,
    files: Sequence[str | Path] | None = None,
) -> str | None:
    """Log a report as one finished run, in the experiment named after the method.

    Only MLflow's client is used: its fluent API would tag runs with user and script path.

    Args:
        report: a checked report.
        folder: where its files lie.
        tracking_uri: ``sqlite`` (``<output_dir>/mlflow.db``), a sqlite or http(s) URI, or ``none``.
        output_dir: of the store and its artifacts; ``folder`` when not given.
        files: artifacts; those of ``REPORT_FILES`` that exist in ``folder`` when not given. Of data that are not
            public, pages and pictures are left out, whoever names them.

    Returns:
        The run's id, or None when tracking is off.

    Raises:
        ConfigError: ``tracking_uri`` is of no supported kind, or the store does not work.
        StorageError: ``output_dir`` cannot be made.
    """
    if is_off(tracking_uri):
        return None
    store = Path(folder if output_dir is None else output_dir)
    uri = prepare_store(tracking_uri, store)
    with key_decides():
        try:
            client = mlflow.MlflowClient(tracking_uri=uri)
            name = str(publishable(report["method"]["name"] or RUN_NAME))
            experiment = _experiment(client, name, artifact_location(uri, store))
            run_id = str(client.create_run(experiment, run_name=RUN_NAME).info.run_id)
        except (MlflowException, OSError) as error:
            raise unusable(error) from error
        chosen = _allowed(report, folder, files)
        try:
            client.log_batch(run_id, params=[Param(name, value) for name, value in report_params(report).items()])
            for batch in _batches(report_numbers(report)):
                client.log_batch(run_id, metrics=batch)
            for path in chosen:
                client.log_artifact(run_id, str(path))
            client.set_terminated(run_id, "FINISHED")
        except (MlflowException, OSError) as error:
            logger.warning("not tracked: %s", without_paths(str(error).splitlines()[0]))
            client.set_terminated(run_id, "FAILED")
    return run_id


def report_params(report: Report) -> dict[str, str]:
    """Settings and digests of a report as MLflow parameters, none of them a path."""
    sections: dict[str, Mapping[str, Any]] = {
        "": report["settings"],
        "method.": report["method"],
        "data.": report["data"],
    }
    params = {"vitad_med": version("vitad-med"), "created": report["created"] or "not recorded"}
    for prefix, values in sections.items():
        for name, value in values.items():
            text = ",".join(value) if isinstance(value, list) else value
            if text is not None:
                params[prefix + name] = str(publishable(text))[:MAX_PARAM_LENGTH]
    return params


def _experiment(client: mlflow.MlflowClient, name: str, location: str | None) -> str:
    known = client.get_experiment_by_name(name)
    if known is None:
        return str(client.create_experiment(name, artifact_location=location))
    if known.lifecycle_stage != "active":
        raise MlflowException(f"experiment '{name}' was deleted; restore it or name another store")
    return str(known.experiment_id)


def _allowed(report: Report, folder: str | Path, files: Sequence[str | Path] | None) -> list[Path]:
    chosen = [Path(path) for path in files] if files is not None else [Path(folder) / name for name in REPORT_FILES]
    existing = [path for path in chosen if path.is_file()]
    if report["data"]["public"]:
        return existing
    kept = [path for path in existing if path.suffix.lower() not in WITH_PICTURES]
    if len(kept) < len(existing):
        logger.info("the page stays in its folder: only pictures of public data sets are tracked")
    return kept


def _batches(numbers: Mapping[str, float]) -> Iterator[list[Metric]]:
    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in numbers.items()]
    for start in range(0, len(metrics), BATCH):
        yield metrics[start : start + BATCH]
