"""Runs one step in this process and leaves the process as it was.

A process of its own for each step would cost some eight seconds of imports. What a step could leave behind for the
next one is undone here: random state and torch's modes are set anew, logging handlers, warnings, ``sys.path`` and the
standard streams are put back, memory is freed. ``sys.excepthook`` needs nothing: a bundle sets it only where MONAI's
own command line is the program.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from monai.bundle import run as run_bundle

from vitad_med.bundles.errors import plain_errors, sentence
from vitad_med.errors import StorageError, VitadError
from vitad_med.experiments.planning import PlannedStep
from vitad_med.experiments.records import LOG, step_folder, write_done, write_failed
from vitad_med.reproducibility import seed_everything

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run_step(step: PlannedStep, out: Path, tracking_uri: str, experiment: str) -> str | None:
    """Run a step in its folder; what it prints and logs goes to ``log.txt`` there.

    An unfinished step is repeated in the folder that it left, where training and adaptation take up their checkpoints.

    Args:
        step: what to run; the steps that it needs are finished.
        out: the experiment's results.
        tracking_uri: MLflow store, or ``none``.
        experiment: name of the MLflow experiment.

    Returns:
        None when it is done, or the sentence that says why it failed.
    """
    folder = step_folder(out, step.id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make '{folder}': {error.strerror}; choose another --out.") from error
    arguments: dict[str, Any] = {
        **step.arguments(out),
        "bundle_root": str(step.bundle),
        "dataset_dir": str(step.dataset_dir),
        "output_dir": str(folder),
    }
    named = {"tracking_uri": tracking_uri, "experiment": experiment, "run_name": f"{step.name}: {step.title}"}
    arguments |= {key: value for key, value in named.items() if key in step.declared}
    metadata = step.bundle / "configs" / "metadata.json"  # MONAI does not find it when a second file is stacked
    began = time.monotonic()
    try:
        with _captured(folder / LOG), plain_errors():
            seed_everything(0)  # the step's config sets its own seed; one that does not must not depend on the order
            run_bundle(
                config_file=[str(file) for file in step.files],
                meta_file=str(metadata) if metadata.is_file() else None,
                logging_file=False,  # type: ignore[arg-type]  # MONAI's way to leave logging alone
                **arguments,
            )
    except VitadError as error:
        return _failed(out, step, sentence(error))
    except Exception as error:  # a defect, or memory: hours of other rows must not be lost to it
        what = str(error).strip().splitlines()
        return _failed(out, step, f"{type(error).__name__}: {what[0] if what else 'no message'}")
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    write_done(out, step, time.monotonic() - began)
    return None


def _failed(out: Path, step: PlannedStep, what: str) -> str:
    write_failed(out, step, what)
    return what


@contextlib.contextmanager
def _captured(log: Path) -> Iterator[None]:
    """Everything that is printed, logged or warned goes to the file; an exception's traceback too."""
    root = logging.getLogger()
    handlers, level, path = root.handlers[:], root.level, sys.path[:]
    with log.open("a", encoding="utf-8", buffering=1) as file, warnings.catch_warnings():
        # MONAI warns that a config can run code; the user named this one.
        warnings.filterwarnings("ignore", message="parsing config_file")
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter(LOG_FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
        root.handlers[:] = [handler]
        root.setLevel(logging.INFO)
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file), _own_streams(file):
                yield
        except BaseException:
            file.write(traceback.format_exc())
            raise
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            sys.path[:] = path


@contextlib.contextmanager
def _own_streams(file: IO[str]) -> Iterator[None]:
    """Loggers that hold the terminal's stream since they were imported write to the file for the time being."""
    moved: list[tuple[logging.StreamHandler[Any], Any]] = []
    for logger in logging.Logger.manager.loggerDict.values():
        for handler in getattr(logger, "handlers", ()):
            if type(handler) is logging.StreamHandler and handler.stream in (sys.__stdout__, sys.__stderr__):
                moved.append((handler, handler.setStream(file)))
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
