"""The experiment in MLflow: one experiment for all steps, and at the end a run with the table."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from vitad_med.bundles.provenance import git_commit, without_paths
from vitad_med.bundles.tracked_numbers import metric_name
from vitad_med.bundles.tracking_store import artifact_location, is_off, key_decides, prepare_store, unusable
from vitad_med.evaluation.files import write_text
from vitad_med.experiments.planning import Plan
from vitad_med.experiments.results import Figure
from vitad_med.experiments.store import FILES

RUN_NAME = "table"
RUN_FILE = "mlflow_run.json"

logger = logging.getLogger(__name__)


def prepare(tracking_uri: str, out: Path, plan: Plan) -> str:
    """Open the store and make the MLflow experiment, whose artifacts lie in ``out/mlflow`` beside a sqlite store.

    Steps whose bundle has no key ``experiment`` track under the bundle's name; those experiments are made too, because
    MLflow fixes where artifacts lie when an experiment is made, and the first step's folder is no place for all.

    Returns:
        What steps take as ``tracking_uri``.

    Raises:
        ConfigError: the store cannot be opened.
    """
    if is_off(tracking_uri):
        return "none"
    uri = prepare_store(tracking_uri, out)
    names = {step.bundle.name for step in plan.steps.values() if "experiment" not in step.declared}
    try:
        with key_decides():
            client = MlflowClient(tracking_uri=uri)
            for name in (plan.experiment.title, *sorted(names)):
                if client.get_experiment_by_name(name) is None:
                    client.create_experiment(name, artifact_location=artifact_location(uri, out))
    except (MlflowException, OSError) as error:
        raise unusable(error) from error
    return uri


def log_table(uri: str, out: Path, plan: Plan, figures: Sequence[Figure]) -> None:
    """Log all means and the result files as the run ``table``; a second time into the same run.

    A fault is logged as a warning: the files are written already.
    """
    if is_off(uri):
        return
    experiment = plan.experiment
    try:
        with key_decides():
            client = MlflowClient(tracking_uri=uri)
            parent = client.get_experiment_by_name(experiment.title)
            run = _earlier(client, out)
            if run is None and parent is not None:
                run = client.create_run(parent.experiment_id, run_name=RUN_NAME).info.run_id
                write_text(out / RUN_FILE, json.dumps({RUN_NAME: run}))
                for key, value in _params(plan).items():
                    client.log_param(run, key, value)
            assert run is not None
            for figure in figures:
                name = metric_name(f"{figure.data},{figure.row},{figure.metric}")
                if figure.mean is not None:
                    client.log_metric(run, name, figure.mean)
                if figure.error is not None:
                    client.log_metric(run, f"{name}.standard_error", figure.error)
                if figure.deviation is not None:
                    client.log_metric(run, f"{name}.standard_deviation", figure.deviation)
            for file in FILES:
                client.log_artifact(run, str(out / file))
            client.set_terminated(run)
    except (MlflowException, OSError, ValueError, AssertionError) as error:
        logger.warning("the table is not tracked: %s", without_paths(str(error).splitlines()[0]))


def _params(plan: Plan) -> dict[str, str]:
    experiment = plan.experiment
    return {
        "file": experiment.file.name,
        "scale": experiment.scale or "none",
        "digest": experiment.digest,
        "git_commit": git_commit(experiment.fallback or experiment.root) or "none",
    }


def _earlier(client: MlflowClient, out: Path) -> str | None:
    try:
        stored = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
        return str(client.get_run(stored[RUN_NAME]).info.run_id)
    except (OSError, ValueError, KeyError, TypeError, MlflowException):
        return None  # the first time, or another store
