"""Where tracked runs go: the MLflow store that a key names, and what MLflow must not say or take from elsewhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow.telemetry
from monai.utils import path_to_sqlite_uri

from vitad_med.bundles.provenance import without_paths
from vitad_med.errors import ConfigError, StorageError

DATABASE = "mlflow.db"
HTTP_SETTINGS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}


def is_off(tracking_uri: str) -> bool:
    """Whether nothing is to be tracked."""
    return tracking_uri.lower() == "none"


def prepare_store(tracking_uri: str, folder: Path) -> str:
    """Make the folder, keep MLflow quiet, and give the URI of the store.

    Args:
        tracking_uri: ``sqlite`` (``<folder>/mlflow.db``), a sqlite or http(s) URI.
        folder: where results go.

    Raises:
        ConfigError: ``tracking_uri`` is of no supported kind.
        StorageError: the folder cannot be made.
    """
    uri = _store_uri(tracking_uri, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make output_dir '{folder}': {error.strerror}; choose another") from error
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.telemetry.set_telemetry_client()
    for name in ("alembic", "mlflow.store.db.utils"):  # they report each table of a new database
        logging.getLogger(name).setLevel(logging.WARNING)
    return uri


def artifact_location(uri: str, folder: Path) -> str | None:
    """Where artifacts of a new experiment lie: beside a sqlite store; a server decides itself."""
    return (folder.resolve() / "mlflow").as_uri() if uri.startswith("sqlite") else None


def unusable(error: Exception) -> ConfigError:
    """The error of a store that cannot be opened, with the remedy and without paths."""
    return ConfigError(
        f"tracking does not work ({without_paths(str(error).splitlines()[0])[:200]}): "
        "correct --tracking_uri, or use --tracking_uri none"
    )


@contextmanager
def key_decides() -> Iterator[None]:
    """Hide MLFLOW_TRACKING_URI, which MONAI's handler prefers to its argument: the config key says where data goes."""
    hidden = os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        yield
    finally:
        if hidden is not None:
            os.environ["MLFLOW_TRACKING_URI"] = hidden


def _store_uri(tracking_uri: str, folder: Path) -> str:
    if tracking_uri == "sqlite":
        return path_to_sqlite_uri(folder / DATABASE)
    if tracking_uri.startswith(("http://", "https://")):
        for name, value in HTTP_SETTINGS.items():
            os.environ.setdefault(name, value)
        return tracking_uri
    if tracking_uri.startswith("sqlite:///"):
        return tracking_uri
    raise ConfigError(f"--tracking_uri is {tracking_uri!r}, but must be 'sqlite', 'none' or a sqlite/http(s) URI")
