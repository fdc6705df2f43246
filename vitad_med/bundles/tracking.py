"""Experiment tracking in MLflow: a sqlite file under ``output_dir`` by default, a server by URI, or none."""

from __future__ import annotations

import atexit
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from monai.bundle import ConfigParser
from monai.handlers import MLFlowHandler

from vitad_med.bundles.provenance import git_commit, publishable, without_paths
from vitad_med.bundles.running import running_parser
from vitad_med.bundles.tracked_numbers import document_numbers, flat_numbers
from vitad_med.bundles.tracking_store import artifact_location, is_off, key_decides, prepare_store, unusable
from vitad_med.checkpoint import atomic_path
from vitad_med.data.registry import PUBLIC_SOURCES

PRIVATE_KEYS = frozenset({"tracking_uri"})  # may carry a password
PATH_KEYS = frozenset(
    {
        *("dataset_dir", "output_dir", "cache_dir", "identifier_key_file", "initial_model", "backbone_weights"),
        *("statistics", "statistics_file", "source_dataset_dir", "guard_dataset_dir", "calibration_dataset_dir"),
    }
)
RUN_FILE = "mlflow_run.json"
STATUS = {kind: RunStatus.to_string(kind) for kind in (RunStatus.FINISHED, RunStatus.KILLED)}
MAX_PARAM_LENGTH = 500

logger = logging.getLogger(__name__)


class TrackingHandler(MLFlowHandler):
    """MONAI's MLFlowHandler with runs that survive a resume and hold no path, user name or patient data.

    On start it logs parameters and the resolved config; after every epoch the numbers in ``engine.state.metrics``, one
    step an epoch; at the end the metrics document and pictures. A run that stops early is marked KILLED, and is
    continued when training resumes in the same folder. A tracking fault after the start is logged and does not stop the
    engine. Only the client API is used: MLflow's fluent API would tag runs with user and script path.

    Args:
        tracking_uri: sqlite or http(s) URI.
        output_dir: keeps the run's id for resuming.
        experiment: MLflow experiment.
        kind: ``train``, ``evaluate``, ...: which of a folder's runs is continued after a resume.
        run_name: name of the run; None is ``kind``.
        params: scalars by name.
        config: resolved config, logged as ``config.json``.
        metrics_file: metrics document (schema vitad_med/metrics/2) to log at the end.
        figures_file: JSON object whose real numbers are logged at the end under their own names.
        pictures: files or folders to log at the end.
        further_metrics: name to another metrics document; its numbers and its file are logged under that name.
        files: further files to log at the end, each in a folder of its own folder's name unless that is the output's.
    """

    default_tracking_params: list[str] = []  # noqa: RUF012 - MONAI's name and type; epochs are among the parameters
    cur_run: Any
    experiment: Any

    def __init__(
        self,
        tracking_uri: str,
        output_dir: Path,
        experiment: str,
        kind: str,
        *,
        run_name: str | None = None,
        params: Mapping[str, Any],
        config: Mapping[str, Any],
        metrics_file: Path | None = None,
        figures_file: Path | None = None,
        pictures: Sequence[Path] = (),
        further_metrics: Mapping[str, Path] | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        with key_decides():
            super().__init__(
                tracking_uri=tracking_uri,
                iteration_log=False,
                experiment_name=experiment,
                run_name=run_name or kind,
                artifacts=list(pictures),
                close_on_complete=True,
                artifact_location=artifact_location(tracking_uri, output_dir),
            )
        self.run_file = output_dir / RUN_FILE
        self.kind = kind
        self.params = {name: str(value)[:MAX_PARAM_LENGTH] for name, value in params.items()}
        self.config = config
        self.metrics_file = metrics_file
        self.figures_file = figures_file
        self.further_metrics = dict(further_metrics or {})
        self.files = list(files)
        self.output_dir = output_dir

    def start(self, engine: Engine) -> None:
        """Open the run; a resumed engine (its epoch is above 0) continues the run of this folder.

        Raises:
            ConfigError: the server does not answer or the database cannot be opened.
        """
        try:
            self._set_experiment()
            self.cur_run = self._earlier_run() if engine.state.epoch > 0 else None
            if self.cur_run is None:
                self.cur_run = self.client.create_run(self.experiment.experiment_id, run_name=self.run_name)
                self._remember_run()
            else:
                self.client.update_run(self._run_id, status="RUNNING")
            atexit.register(self._stopped_early)
            self._log_params(self._new_params(engine.state.epoch))
            self.client.log_dict(self._run_id, dict(self.config), "config.json")
        except (MlflowException, OSError) as error:
            raise unusable(error) from error

    def epoch_completed(self, engine: Engine) -> None:
        """Log every real number in ``engine.state.metrics``, nested names joined by ``/``."""
        self._try(self._log_metrics, flat_numbers(engine.state.metrics), step=engine.state.epoch)

    def complete(self, engine: Engine | None = None) -> None:
        """Log the metrics documents, the other figures, the pictures and the files."""
        if self.metrics_file is not None and self.metrics_file.is_file():
            self._try(self._log_document, self.metrics_file, document_numbers)
        if self.figures_file is not None and self.figures_file.is_file():
            self._try(self._log_document, self.figures_file, flat_numbers)
        for name, document in self.further_metrics.items():
            if document.is_file():
                self._try(self._log_document, document, document_numbers, name)
        for file in self.files:
            if file.is_file():
                folder = None if file.parent == self.output_dir else file.parent.name
                self._try(self.client.log_artifact, self._run_id, str(file), folder)
        for path in self._parse_artifacts():
            self._try(self.client.log_artifact, self._run_id, path, "pictures")

    def close(self, engine: Engine | None = None) -> None:
        """Mark the run finished and release the database."""
        atexit.unregister(self._stopped_early)
        self._try(super().close)

    def _stopped_early(self) -> None:
        if self.cur_run is not None:
            self._try(self.client.set_terminated, self._run_id, STATUS[RunStatus.KILLED])

    def _log_document(
        self, path: Path, numbers_of: Callable[[Mapping[str, Any]], dict[str, float]], name: str | None = None
    ) -> None:
        found = numbers_of(json.loads(path.read_text(encoding="utf-8")))
        self._log_metrics({f"{name}/{key}" if name else key: value for key, value in found.items()}, step=0)
        self.client.log_artifact(self._run_id, str(path), name)

    def _new_params(self, epoch: int) -> dict[str, str]:
        """MLflow writes a parameter once: a resumed run adds the changed ones only, under a name that says so."""
        known = self.client.get_run(self._run_id).data.params
        fresh = {name: value for name, value in self.params.items() if name not in known}
        changed = {name: value for name, value in self.params.items() if known.get(name, value) != value}
        fresh.update({f"{name}.after_epoch_{epoch}": value for name, value in changed.items()})
        return {name: value for name, value in fresh.items() if name not in known}

    def _earlier_run(self) -> Any | None:
        try:
            stored = json.loads(self.run_file.read_text(encoding="utf-8"))
            return self.client.get_run(stored[self.kind])
        except (OSError, ValueError, KeyError, MlflowException):
            return None  # first start, or another store: begin a new run

    def _remember_run(self) -> None:
        try:
            stored = json.loads(self.run_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            stored = {}
        stored[self.kind] = self._run_id
        with atomic_path(self.run_file) as temporary:
            temporary.write_text(json.dumps(stored), encoding="utf-8")

    @property
    def _run_id(self) -> str:
        return str(self.cur_run.info.run_id)

    @staticmethod
    def _try(action: Any, *arguments: Any, **options: Any) -> None:
        try:
            action(*arguments, **options)
        except (MlflowException, OSError, ValueError) as error:
            logger.warning("not tracked: %s", without_paths(str(error).splitlines()[0]))


def track(
    *,
    tracking_uri: str,
    output_dir: str | Path,
    bundle_root: str | Path,
    kind: str,
    data: str,
    split_digest: str | None = None,
    metrics_file: str | Path | None = None,
    figures_file: str | Path | None = None,
    pictures: Sequence[str | Path] = (),
    further_metrics: Mapping[str, str | Path] | None = None,
    files: Sequence[str | Path] = (),
    experiment: str | None = None,
    run_name: str | None = None,
) -> TrackingHandler | None:
    """The tracking handler of a bundle config; the parameters are the config's own top-level scalars.

    Args:
        tracking_uri: ``sqlite`` (``<output_dir>/mlflow.db``), a sqlite or http(s) URI, or ``none``.
        output_dir: where results go; artifacts of a sqlite store lie in ``<output_dir>/mlflow``.
        bundle_root: the bundle's folder.
        kind: ``train``, ``evaluate``, ``summarize`` or ``adapt``.
        data: name of the data source; pictures are logged only of public ones.
        split_digest: SHA-256 of the split.
        metrics_file: metrics document to log at the end.
        figures_file: JSON object of further figures to log at the end.
        pictures: files or folders to log at the end.
        further_metrics: name to another metrics document, logged under that name.
        files: further files to log at the end; nothing in them may name a patient or a path.
        experiment: MLflow experiment; None is the bundle's name.
        run_name: name of the run; None is ``kind``.

    Returns:
        A handler, or None (which MONAI leaves out of a list of handlers) when off and on ranks above 0.

    Raises:
        ConfigError: ``tracking_uri`` is of no supported kind.
        StorageError: ``output_dir`` cannot be made.
    """
    if is_off(tracking_uri) or _rank() > 0:
        return None
    folder = Path(output_dir)
    uri = prepare_store(tracking_uri, folder)
    params, config = _settings(public=data in PUBLIC_SOURCES)
    params["vitad_med"] = version("vitad-med")
    params["torch"] = torch.__version__
    params["git_commit"] = git_commit(bundle_root) or "none"
    if split_digest is not None:
        params["split_digest"] = split_digest
    if pictures and data not in PUBLIC_SOURCES:
        logger.info("pictures stay in %s: only those of public data sets are tracked", folder)
        pictures = ()
    return TrackingHandler(
        uri,
        folder,
        experiment or Path(bundle_root).resolve().name,
        kind,
        run_name=run_name,
        params=params,
        config=config,
        metrics_file=None if metrics_file is None else Path(metrics_file),
        figures_file=None if figures_file is None else Path(figures_file),
        pictures=[Path(path) for path in pictures],
        further_metrics={name: Path(path) for name, path in (further_metrics or {}).items()},
        files=[Path(path) for path in files],
    )


def _settings(public: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Top-level scalars of the running config, and the whole of it, both fit to be published.

    Folders of data that are not public may be named after patients: not even their relative paths are told.
    """
    parser = running_parser()
    if parser is None:
        return {}, {}
    raw = {key: value for key, value in parser.get().items() if key not in (ConfigParser.meta_key, *PRIVATE_KEYS)}
    resolved = {**raw, **parser.ref_resolver.resolved_content}
    if not public:
        hidden = {key: "withheld" for key in PATH_KEYS & raw.keys() if raw[key] is not None}
        raw, resolved = {**raw, **hidden}, {**resolved, **hidden}
    params = {}
    for key in raw:
        current = resolved[key]
        if isinstance(current, torch.device):
            current = str(current)
        if isinstance(current, (str, bool, int, float, Path)) and not key.startswith("_"):
            params[key] = publishable(current)
    return params, publishable(raw)


def _rank() -> int:
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
