"""Pre-training from the command line: its files, and an encoder that the next stage takes."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from vitad_med.data.splits import split_digest
from vitad_med.engines.setup import training_cases
from vitad_med.networks.weights import build_encoder

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "apmask"
SMALL = (
    *("--image_size", "64", "--source_size", "64", "--multicrop#local_size", "32", "--multicrop#local_views", "2"),
    *("--head_hidden", "32", "--tracking_uri", "none"),
)


@pytest.fixture
def pretrain(bundle_run, tmp_path: Path):
    """Run pretrain.json with a small network; results go to ``out`` below ``tmp_path``."""

    def run(*options: str, status: int = 0):
        words = (*SMALL, "--output_dir", str(tmp_path / "out"), *options)
        return bundle_run("pretrain.json", *words, cwd=tmp_path, bundle=BUNDLE, status=status)

    return run


def test_a_run_writes_an_encoder_that_weights_accept(pretrain, nih_mini: Path, tmp_path: Path) -> None:
    done = pretrain("--epochs", "3")
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
        "data": "nih_chestxray14",
        "split_digest": split_digest(training_cases("nih_chestxray14", str(nih_mini), 0.1, 0, {})),
        "val_fraction": 0.1,
        "split_seed": 0,
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


def test_one_image_many_times_is_a_collapse_and_leaves_no_encoder(pretrain, tmp_path: Path, nih_mini: Path) -> None:
    image = sorted((nih_mini / "images").iterdir())[0]
    copies = tmp_path / "copies"
    copies.mkdir()
    for number in range(20):
        shutil.copy(image, copies / f"{number}{image.suffix}")
    earlier = [tmp_path / "out" / name for name in ("encoder.safetensors", "pretraining.json")]
    for file in earlier:
        file.parent.mkdir(exist_ok=True)
        file.write_text("of another training")
    folder = ("--data", "image_folder", "--dataset_dir", str(copies))
    done = pretrain(*folder, "--epochs", "40", status=2)
    assert "no labels: every image is taken as normal" in done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    # 18 of them are trained on, a step an epoch: judged over half of the 40 steps.
    assert re.match(r"error: training has collapsed at step \d+: identity is .* on average over 20 steps", last)
    assert not any(file.exists() for file in earlier)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["apmask", "msn"])
def test_it_runs_with_no_other_flag_and_lowers_the_loss(objective: str, bundle_run, tmp_path: Path) -> None:
    chosen = [] if objective == "apmask" else ["--objective", objective]
    bundle_run("pretrain.json", *chosen, cwd=tmp_path, bundle=BUNDLE)
    [out] = (tmp_path / "outputs").glob("apmask_pretrain*")
    with (out / "history.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    assert len(rows) == 40
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.1
    assert rows[-1]["identity"] > 0.2
    assert rows[-1]["usage_entropy"] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["apmask", "ibot"])
def test_several_processes_train_one_encoder(objective: str, bundle_processes, tmp_path: Path) -> None:
    words = ("--objective", objective, "--epochs", "2", "--output_dir", str(tmp_path / "out"))
    bundle_processes(2, *SMALL, *words, cwd=tmp_path, bundle=BUNDLE, what="pretrain")
    document = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    assert document["settings"]["distributed"] is True
    with (tmp_path / "out" / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    build_encoder(weights=str(tmp_path / "out" / "encoder.safetensors"), image_size=224)
