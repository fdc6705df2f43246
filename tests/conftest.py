"""Fixtures and settings that every test shares."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

# Tests never write to a tracking server that the environment happens to name.
os.environ.pop("MLFLOW_TRACKING_URI", None)
# Figures go to files; no display is needed.
os.environ.setdefault("MPLBACKEND", "Agg")

# Of several processes of tests each takes one thread, and so do the commands that they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings

import vitad_med  # noqa: F401 - before any test imports timm: see _torchvision_cpu.py
from tests.warm import Warm

REPO_ROOT = Path(__file__).resolve().parents[1]
SEED = 0
# The tensors here are tiny: on a machine with many cores more threads only wait for one another.
MAX_THREADS = 2

# A shell ignores Ctrl-C on behalf of what it starts in the background, and every child inherits that; the tests that
# interrupt a child need it to listen.
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(min(torch.get_num_threads(), MAX_THREADS))
# No deadline: an example that is slow on a busy machine is no failure. In CI the examples are the same in every run.
settings.register_profile("vitad_med", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("vitad_med")


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Start every test from the same random state, whatever ran before, and undo its changes of torch's global mode."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - third-party code draws from the legacy global generator
    torch.manual_seed(SEED)
    deterministic = torch.are_deterministic_algorithms_enabled()
    threads = torch.get_num_threads()
    yield
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call imports half of torch's compiler
        torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo what commands do to the root logger, whose process is theirs: a bundle's logging.conf has its handlers."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Runs command lines without the seconds that their imports take."""
    server = Warm({"OMP_NUM_THREADS": str(MAX_THREADS), **os.environ, "PYTHONWARNINGS": "ignore"})
    yield server
    server.close()


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The root of the checkout: `bundles/`, `configs/` and `examples/` lie here."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Larger real data sets that lie beside the checkout; tests that need them are skipped where they are absent."""
    folder = REPO_ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the larger data sets are absent: ../shared/data, beside the checkout, does not exist")
    return folder


@pytest.fixture(scope="session")
def nih_mini() -> Path:
    """The embedded ChestX-ray14 subset, in the official layout."""
    return REPO_ROOT / "examples" / "nih_mini"
