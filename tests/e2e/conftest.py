"""A small training of the real bundle, shared by the end-to-end tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.warm import Warm

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "attn_synth"
# Small enough for seconds on two cores; everything else is the bundle's own default.
SMALL = ("--image_size", "64", "--source_size", "64", "--multicrop#local_size", "32", "--micro_batch", "64")

Run = Callable[..., subprocess.CompletedProcess[str]]


def command(config: str | list[str], *options: str, bundle: Path = BUNDLE) -> list[str]:
    """`python -m monai.bundle run` on a config of a bundle, from anywhere."""
    names = [config] if isinstance(config, str) else config
    paths = [str(bundle / "configs" / name) if "/" not in name else name for name in names]
    files = paths[0] if len(paths) == 1 else repr(paths)
    start = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files, "--bundle_root", str(bundle)]
    return [*start, *options]


def environment() -> dict[str, str]:
    """Two threads unless the caller says otherwise, and no tracking server that happens to be named."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return {"OMP_NUM_THREADS": "2", **kept, "PYTHONWARNINGS": "ignore"}


def run_cold(words: list[str], cwd: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A process of its own, imports and all."""
    return subprocess.run(words, cwd=cwd, env=environ, capture_output=True, text=True, timeout=900)


def checked(done: subprocess.CompletedProcess[str], status: int = 0) -> subprocess.CompletedProcess[str]:
    """Ended as it must; a mistake is told without a traceback."""
    assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
    if status == 2:
        assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="session")
def bundle_command() -> Callable[..., list[str]]:
    """The command line of a run, for tests that handle the process themselves."""
    return command


@pytest.fixture(scope="session")
def bundle_run(warm: Warm) -> Run:
    """Run a config of a bundle; ``cwd`` is where, ``status`` how it must end: a mistake in one sentence is 2."""

    def run(
        config: str | list[str], *options: str, cwd: Path, bundle: Path = BUNDLE, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        return checked(warm.run(command(config, *options, bundle=bundle), cwd, environment()), status)

    return run


@pytest.fixture(scope="session")
def bundle_processes() -> Run:
    """Run ``train`` (or ``pretrain``) with ``count`` processes on the CPU, as ``torchrun`` starts them on GPUs."""

    def run(
        count: int, *options: str, cwd: Path, bundle: Path = BUNDLE, what: str = "train"
    ) -> subprocess.CompletedProcess[str]:
        configs = [f"{what}.json", f"multi_gpu_{what}.json"]
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        words = [*launch, *command(configs, "--device", "cpu", *options, bundle=bundle)[1:]]
        return checked(run_cold(words, cwd, {**environment(), "OMP_NUM_THREADS": "1"}))

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of two epochs on the embedded radiographs, run from a folder that is not the repository."""
    folder = tmp_path_factory.mktemp("trained")
    words = command("train.json", *SMALL, "--epochs", "2", "--output_dir", str(folder / "out"))
    checked(run_cold(words, folder, environment()))
    return folder / "out"
