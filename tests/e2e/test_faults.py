"""Ctrl-C, a full disk and wrong input during the bundle's training: one sentence, and nothing lost."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.warm import Warm

TINY = ("--image_size", "32", "--source_size", "32", "--multicrop#local_size", "32", "--tracking_uri", "none")


def start(command: list[str], cwd: Path, file_limit: int | None = None) -> subprocess.Popen[str]:
    def limit() -> None:
        # Python ignores SIGXFSZ, so a write beyond the limit fails like one on a full disk.
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        command, cwd=cwd, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit
    )


def test_ctrl_c_keeps_the_checkpoint_and_the_same_command_goes_on(bundle_command, tmp_path: Path, warm: Warm) -> None:
    out = tmp_path / "out"
    command = bundle_command("train.json", *TINY, "--epochs", "3", "--output_dir", str(out))
    process = start(command, tmp_path)
    deadline = time.monotonic() + 300
    while not (out / "training.ckpt").is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors[-2000:]
    assert "Traceback" not in errors
    assert not (out / "model.pt").exists()
    again = warm.run(command, tmp_path, os.environ)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "resuming after epoch" in again.stdout
    assert (out / "model.pt").is_file()


def test_a_full_disk_keeps_the_checkpoint_before(bundle_command, tmp_path: Path, warm: Warm) -> None:
    out = tmp_path / "out"
    options = (*TINY, "--output_dir", str(out))
    assert warm.run(bundle_command("train.json", *options, "--epochs", "1"), tmp_path, os.environ).returncode == 0
    before = (out / "training.ckpt").read_bytes()
    process = start(
        bundle_command("train.json", *options, "--epochs", "2", "--resume", "False"), tmp_path, file_limit=2_000_000
    )
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 2, errors[-2000:]
    assert "cannot write" in errors
    assert "training.ckpt" in errors
    assert "Traceback" not in errors
    assert (out / "training.ckpt").read_bytes() == before
    assert not list(out.glob(".training.ckpt*"))


def test_an_all_black_training_image_is_named(bundle_command, nih_mini: Path, tmp_path: Path, warm: Warm) -> None:
    dataset = tmp_path / "data"
    (dataset / "images").mkdir(parents=True)
    for path in nih_mini.iterdir():
        if path.is_file():
            (dataset / path.name).write_bytes(path.read_bytes())
    for path in (nih_mini / "images").iterdir():
        (dataset / "images" / path.name).write_bytes(path.read_bytes())
    name = (dataset / "train_val_list.txt").read_text().split()[0].removesuffix(".png")
    damaged = next((dataset / "images").glob(f"{name}.*"))
    Image.fromarray(np.zeros((256, 256), np.uint8)).save(damaged)
    command = bundle_command("train.json", *TINY, "--dataset_dir", str(dataset), "--output_dir", str(tmp_path / "out"))
    done = warm.run(command, tmp_path, os.environ)
    assert done.returncode == 2
    assert name in done.stderr
    assert "Traceback" not in done.stderr
