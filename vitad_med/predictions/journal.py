"""The journal of a run, ``run.json``: which method, settings and data its predictions come from, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vitad_med.digests import config_digest
from vitad_med.errors import DataError
from vitad_med.predictions.identifiers import Identifiers

SCHEMA = "vitad_med/run/1"

_TEXTS = (
    "method",
    "source",
    "model_digest",
    "pipeline_digest",
    "backend_digest",
    "data_digest",
    "score_rule",
    "software",
)
_SMALLEST = {"eval_size": 1, "seed": 0}


@dataclass(frozen=True)
class Journal:
    """What is known of a run; None where nobody said.

    Attributes:
        method: name of the method.
        source: reader of the data set, e.g. ``nih_chestxray14``.
        public: whether names and pictures may leave the site; after reading never None.
        identifiers: ``clear`` or ``hashed`` names in the tables; after reading never None.
        created: time of the run, UTC, ``2026-11-25T13:00:00Z``.
        model_digest: SHA-256 of the weights.
        pipeline: settings that change scores, plain values.
        pipeline_digest: SHA-256 of ``pipeline``.
        backend: what computed the scores, e.g. ``{"name": "torch", "device": "cpu", "precision": "float32"}``.
        backend_digest: SHA-256 of ``backend``.
        data_digest: SHA-256 of the cases and their files.
        score_rule: what the image score is, in words.
        eval_size: side in pixels of the grid of the maps.
        seed: of the run.
        software: names and versions.
    """

    method: str | None = None
    source: str | None = None
    public: bool | None = None
    identifiers: Identifiers | None = None
    created: str | None = None
    model_digest: str | None = None
    pipeline: Mapping[str, Any] | None = None
    pipeline_digest: str | None = None
    backend: Mapping[str, Any] | None = None
    backend_digest: str | None = None
    data_digest: str | None = None
    score_rule: str | None = None
    eval_size: int | None = None
    seed: int | None = None
    software: str | None = None


def utc_now() -> str:
    """The time as the journal writes it, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def with_digests(journal: Journal) -> Journal:
    """The journal with the digests of its pipeline and backend."""
    return replace(
        journal,
        pipeline_digest=journal.pipeline_digest if journal.pipeline is None else config_digest(journal.pipeline),
        backend_digest=journal.backend_digest if journal.backend is None else config_digest(journal.backend),
    )


def journal_text(journal: Journal) -> str:
    """Content of ``run.json``."""
    return json.dumps({"schema": SCHEMA, **asdict(journal)}, indent=2, ensure_ascii=False) + "\n"


def read_journal(path: Path) -> Journal:
    """Read ``run.json``; unknown keys are ignored, missing ones are None.

    Raises:
        DataError: no JSON object of this schema, a key with a wrong type, or a digest of something else.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); write it again, or take it away.") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise DataError(f"{path}: key 'schema' is {found!r}, but must be '{SCHEMA}'; docs/predictions_format.md.")
    given = {field.name: content.get(field.name) for field in fields(Journal)}
    for name, value in given.items():
        if value is not None:
            _check(path, name, value)
    journal = with_digests(Journal(**given))
    for part in ("pipeline", "backend"):
        name = f"{part}_digest"
        if given[name] is not None and given[name] != getattr(journal, name):
            raise DataError(f"{path}: '{name}' is not the digest of '{part}', one was changed; take the digest away.")
    return journal


def _check(path: Path, name: str, value: Any) -> None:
    def refuse(wanted: str) -> None:
        raise DataError(f"{path}: key '{name}' is {value!r}, but must be {wanted}; correct it, or take the key away.")

    if name in _TEXTS and not isinstance(value, str):
        refuse("text")
    if name == "public" and not isinstance(value, bool):
        refuse("true or false")
    if name == "identifiers" and value not in ("clear", "hashed"):
        refuse("'clear' or 'hashed'")
    if name in ("pipeline", "backend") and not isinstance(value, dict):
        refuse("an object of plain values")
    if name in _SMALLEST and (isinstance(value, bool) or not isinstance(value, int) or value < _SMALLEST[name]):
        refuse(f"a whole number of at least {_SMALLEST[name]}")
    if name == "created":
        try:
            datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ")
        except (TypeError, ValueError):
            refuse("a UTC time such as '2026-11-25T13:00:00Z'")
