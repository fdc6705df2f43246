"""What a step leaves beside its results: ``done.json`` when it is finished, ``failed.json`` when it is not."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import torch

from vitad_med import __version__
from vitad_med.bundles.provenance import git_commit, publishable, without_paths
from vitad_med.evaluation.files import write_text
from vitad_med.experiments.planning import STEPS, PlannedStep

DONE = "done.json"
FAILED = "failed.json"
LOG = "log.txt"
SCHEMA = "vitad_med/experiment_step/1"
LIBRARIES = ("torch", "monai", "timm", "numpy")


def step_folder(out: Path, step: str) -> Path:
    """Where a step's results lie."""
    return out / STEPS / step


def read_done(out: Path, step: PlannedStep) -> dict[str, Any] | None:
    """The record of a finished step; None where it is not finished."""
    content = _read(step_folder(out, step.id) / DONE)
    # The folder's name has part of the digest only.
    return content if content is not None and content.get("digest") == step.digest else None


def read_failed(out: Path, step: PlannedStep) -> str | None:
    """Why a step's last attempt failed, None where it did not."""
    content = _read(step_folder(out, step.id) / FAILED)
    return None if content is None else str(content.get("sentence"))


def write_done(out: Path, step: PlannedStep, seconds: float) -> None:
    """Say that a step is finished; written last, so that nothing half-done is taken for a result."""
    folder = step_folder(out, step.id)
    told = step.inputs if step.public else {key: step.inputs[key] for key in ("bundle", "configs", "models")}
    content = {
        "schema": SCHEMA,
        "step": step.name,
        "title": step.title,
        "digest": step.digest,
        # A path may still stand inside an expression of the file's own.
        "inputs": publishable(told),
        "settings": step.settings,
        "seconds": round(seconds, 3),
        "software": software(step.bundle),
    }
    write_text(folder / DONE, json.dumps(content, indent=2) + "\n")
    (folder / FAILED).unlink(missing_ok=True)


def write_failed(out: Path, step: PlannedStep, sentence: str) -> None:
    """Keep why a step failed, as it may be told: no rooted path, and of data that are not public nothing."""
    told = without_paths(sentence) if step.public else f"failed; the reason is in {STEPS}/{step.id}/{LOG}"
    write_text(step_folder(out, step.id) / FAILED, json.dumps({"sentence": told}) + "\n")


def software(bundle: Path) -> dict[str, Any]:
    """What made a result."""
    return {
        "vitad_med": __version__,
        "git_commit": git_commit(bundle),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
    }


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
