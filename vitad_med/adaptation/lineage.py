"""The adapted model, apart from its source: ``model.pt``, and ``lineage.json`` that says how it came about."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitad_med import __version__
from vitad_med.adaptation.audit import utc_now
from vitad_med.checkpoint import atomic_path, load_checkpoint
from vitad_med.digests import state_digest
from vitad_med.errors import ConfigError, DataError, StorageError
from vitad_med.networks.state import save_model

SCHEMA = "vitad_med/lineage/1"
MODEL = "model.pt"
LINEAGE = "lineage.json"

_COUNTS = ("updates", "kept", "undone")
_TEXTS = ("source_digest", "method", "mode", "adapted_digest", "created", "software")
_OPTIONAL_TEXTS = ("statistics_digest", "data_digest", "audit_digest")


@dataclass(frozen=True)
class Lineage:
    """Where an adapted model comes from. No path and no name of a patient is in it.

    Attributes:
        source_digest: digest of the source model as :func:`vitad_med.networks.state.load_model` gives it.
        method: ``alignment``, ``tent``, ...
        mode: ``online``, ``transductive`` or ``episodic``.
        settings: what changes the result, plain values.
        updates: made.
        kept, undone: what became of them.
        statistics_digest: of the source statistics, None for a method without.
        data_digest: of the stream's cases and their files.
        audit_digest: SHA-256 of the audit file when the model was saved (:func:`vitad_med.digests.file_digest`).
        guard: fields of the :class:`~vitad_med.adaptation.guard.GuardRange`, None without a guard.
        adapted_digest: digest of the model beside it; :func:`save_adapted` fills in this and what follows.
        created: UTC.
        software: names and versions.
    """

    source_digest: str
    method: str
    mode: str
    settings: Mapping[str, Any]
    updates: int
    kept: int
    undone: int
    statistics_digest: str | None = None
    data_digest: str | None = None
    audit_digest: str | None = None
    guard: Mapping[str, Any] | None = None
    adapted_digest: str = ""
    created: str = ""
    software: str = ""


def save_adapted(
    folder: str | Path,
    network: nn.Module,
    lineage: Lineage,
    source_weights: str | Path,
    bundle_root: str | Path | None = None,
) -> Lineage:
    """Write ``folder/model.pt``, then ``folder/lineage.json``: a folder with a lineage is whole.

    The model is stored in float32: in fp16 most updates at a learning rate of 5e-4 would be rounded away.

    Args:
        folder: where to write; a former adapted model there is replaced.
        network: the adapted network.
        lineage: what is known of it.
        source_weights: file that the source model was read from.
        bundle_root: folder of the source bundle, whose ``models`` must stay as they are.

    Returns:
        The lineage as written.

    Raises:
        ConfigError: the folder would change the source model or lies in its bundle's ``models``, symbolic links
            resolved; or ``settings`` or ``guard`` hold what JSON cannot.
        StorageError: a file cannot be written.
    """
    folder = Path(folder)
    _refuse_source(folder, Path(source_weights), None if bundle_root is None else Path(bundle_root))
    written = replace(lineage, created=utc_now(), software=f"vitad_med {__version__}, torch {torch.__version__}")
    _text(written)  # refused before anything is touched
    try:
        (folder / LINEAGE).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot replace '{folder / LINEAGE}': {error.strerror or error}") from error
    written = replace(written, adapted_digest=save_model(folder / MODEL, network, torch.float32))
    with atomic_path(folder / LINEAGE) as temporary:
        temporary.write_text(_text(written), encoding="utf-8")
    return written


def read_lineage(path: str | Path) -> Lineage:
    """Read a lineage and check it against the model beside it; keys that this version does not know are ignored.

    Args:
        path: the ``lineage.json``.

    Raises:
        DataError: missing, unreadable, of another schema, a key of a wrong type, or the lineage of another model.
        WeightsError: the model beside it is missing or damaged.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"'{path}' does not exist: its folder holds no adapted model, or half of one.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"'{path}' cannot be read as JSON ({error}); adapt again.") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise DataError(f"'{path}': key 'schema' is {found!r}, but must be '{SCHEMA}'; adapt again with this version.")
    missing = [field.name for field in fields(Lineage) if field.name not in content]
    if missing:
        raise DataError(f"'{path}' has no key '{missing[0]}'; adapt again.")
    lineage = Lineage(**{field.name: content[field.name] for field in fields(Lineage)})
    _check(path, lineage)
    if state_digest(load_checkpoint(path.parent / MODEL)) != lineage.adapted_digest:
        raise DataError(f"'{path}' is the lineage of another model than the {MODEL} beside it; adapt again.")
    return lineage


def _refuse_source(folder: Path, source: Path, bundle_root: Path | None) -> None:
    target = (folder / MODEL).resolve()
    if target == source.resolve() or (target.exists() and source.exists() and os.path.samefile(target, source)):
        raise ConfigError(f"'{folder}' holds the source model, which must not change: choose another output_dir")
    if bundle_root is not None:
        models = (bundle_root / "models").resolve()
        if folder.resolve().is_relative_to(models) or target.is_relative_to(models):
            raise ConfigError(
                f"'{folder}' lies in the source bundle's 'models', which must not change: choose another output_dir"
            )


def _text(lineage: Lineage) -> str:
    try:
        return json.dumps({"schema": SCHEMA, **asdict(lineage)}, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the lineage holds a value that JSON cannot ({error}): give plain values") from error


def _check(path: Path, lineage: Lineage) -> None:
    def require(condition: bool, name: str, wanted: str) -> None:
        if not condition:
            raise DataError(f"'{path}': key '{name}' must be {wanted}; it was edited, adapt again.")

    for name in _TEXTS:
        require(isinstance(getattr(lineage, name), str), name, "text")
    for name in _OPTIONAL_TEXTS:
        require(isinstance(getattr(lineage, name), (str, type(None))), name, "text or null")
    for name in _COUNTS:
        value = getattr(lineage, name)
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        require(whole, name, "a whole number of at least 0")
    require(lineage.kept + lineage.undone == lineage.updates, "updates", "kept + undone")
    require(isinstance(lineage.settings, dict), "settings", "an object")
    require(isinstance(lineage.guard, (dict, type(None))), "guard", "an object or null")
