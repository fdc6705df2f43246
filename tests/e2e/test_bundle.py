"""Train, evaluate and ask the bundle `attn_synth` by MONAI's own command, on real radiographs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitad_med.evaluation.document import read_document

SIZE = ("--image_size", "64")


def test_training_leaves_model_history_and_tracking(trained: Path) -> None:
    assert {"model.pt", "history.csv", "training.ckpt", "mlflow.db"} <= {path.name for path in trained.iterdir()}
    with (trained / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert 0 <= float(rows[-1]["synthetic_pixel_auroc"]) <= 1
    assert not [path for path in trained.rglob("*") if path.suffix == ".tmp"]


def test_evaluation_writes_cohorts_null_maps_pictures_and_a_table(trained: Path, bundle_run, tmp_path: Path) -> None:
    done = bundle_run(
        "evaluate.json",
        *SIZE,
        "--weights",
        str(trained / "model.pt"),
        "--replicates",
        "200",
        "--output_dir",
        str(tmp_path / "out"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    document = read_document(tmp_path / "out" / "metrics.json")
    assert {"all", "sex=M", "sex=F", "view=PA", "view=AP"} <= document["cohorts"].keys()
    everyone = document["cohorts"]["all"]
    assert (everyone["n_images"], everyone["n_abnormal"], everyone["n_localized"]) == (48, 32, 32)
    assert everyone["metrics"]["conditioned_auroc"]["value"] is not None
    assert everyone["nulls"]["centre_blob"]["conditioned_auroc"] == 0.5
    assert everyone["nulls"]["centre_blob"]["pixel_auroc"] > 0.6
    assert (tmp_path / "out" / "overlays" / "best.png").is_file()
    with (tmp_path / "out" / "images.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 48
    synthetic = json.loads((tmp_path / "out" / "synthetic.json").read_text())
    assert synthetic["n_normal"] == 16
    assert "centre blob" in done.stdout


def test_inference_writes_a_score_and_a_map_of_each_image(trained: Path, bundle_run, tmp_path: Path) -> None:
    done = bundle_run(
        "inference.json",
        *SIZE,
        "--weights",
        str(trained / "model.pt"),
        "--output_dir",
        str(tmp_path / "out"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    written = np.asarray(Image.open(tmp_path / "out" / "maps" / f"{rows[0]['image']}.png"))
    assert written.shape == (256, 256)
    assert written.dtype == np.uint16
    assert written.std() > 0


def test_a_model_of_another_architecture_is_refused(trained: Path, bundle_run, tmp_path: Path) -> None:
    done = bundle_run(
        "evaluate.json",
        "--weights",
        str(trained / "model.pt"),
        "--architecture",
        "vit_small_patch16_224",
        "--output_dir",
        str(tmp_path / "out"),
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "does not fit this network" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_several_processes_train_one_model(bundle_processes, tmp_path: Path) -> None:
    done = bundle_processes(2, "--epochs", "1", "--output_dir", str(tmp_path / "out"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "out" / "model.pt").is_file()
    with (tmp_path / "out" / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
