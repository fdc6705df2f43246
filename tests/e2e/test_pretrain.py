"""Pre-training from the command line: its files, and an encoder that the next stage takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vitad_med.networks.weights import build_encoder

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "apmask"
SMALL = (
    *("--image_size", "64", "--source_size", "64", "--multicrop#local_size", "32", "--multicrop#local_views", "2"),
    *("--head_hidden", "32", "--tracking_uri", "none"),
)


def pretrain(folder: Path, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run from a folder that is not the repository."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(BUNDLE / "configs" / "pretrain.json")]
    command += ["--bundle_root", str(BUNDLE), *SMALL, "--output_dir", str(folder / "out"), *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return {"OMP_NUM_THREADS": "2", **kept, "PYTHONWARNINGS": "ignore"}


def test_a_run_writes_an_encoder_that_weights_accept(tmp_path: Path, environment: dict[str, str]) -> None:
    done = pretrain(tmp_path, environment, "--epochs", "3")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = done.stdout + done.stderr
    assert "training images: 58 normal of 58 patients; left out: 0 abnormal as labelled, 6 normal" in said
    assert "16 samples share 20 prototypes" in said
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} >= {"encoder.safetensors", "pretraining.json", "history.csv"}
    header, *rows = (out / "history.csv").read_text().splitlines()
    assert len(rows) == 3
    assert {"loss", "target_entropy", "usage_entropy", "prototypes_used", "feature_spread", "identity"} <= {
        *header.split(",")
    }
    document = json.loads((out / "pretraining.json").read_text())
    assert document["schema"] == "vitad_med/pretraining/1"
    assert document["images"] == {
        "images": 58,
        "patients": 58,
        "labels": "of the data set",
        "normal_held_out": 6,
        "abnormal_left_out": 0,
    }
    assert document["settings"]["objective"] == "apmask"
    encoder, _ = build_encoder(weights=str(out / "encoder.safetensors"), image_size=224)
    embedded, _ = build_encoder(weights="embedded", image_size=224)
    assert any(not torch.equal(value, embedded.state_dict()[name]) for name, value in encoder.state_dict().items())


def test_a_collapse_ends_with_one_sentence_and_no_encoder(tmp_path: Path, environment: dict[str, str]) -> None:
    limits = ("--collapse#patience", "3", "--collapse#min_feature_spread", "5.0")
    done = pretrain(tmp_path, environment, "--epochs", "3", *limits)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: training has collapsed at step 3: feature_spread is ")
    assert not (tmp_path / "out" / "encoder.safetensors").exists()
