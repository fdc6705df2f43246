"""Train, evaluate and ask the bundle `attn_synth` by MONAI's own command, on real radiographs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitad_med.evaluation.document import read_document
from vitad_med.predictions.reader import read_predictions

ROOT = Path(__file__).resolve().parents[2]

SIZE = ("--image_size", "64")


@pytest.fixture
def ask(trained: Path, bundle_run, tmp_path: Path):
    """Run a config with the trained model; results go to ``out`` below ``tmp_path``."""

    def run(config, *options: str, status: int = 0):
        model = ("--weights", str(trained / "model.pt"))
        where = ("--output_dir", str(tmp_path / "out"))
        return bundle_run(config, *model, *where, *options, cwd=tmp_path, status=status)

    return run


def test_training_leaves_model_history_and_tracking(trained: Path) -> None:
    assert {"model.pt", "history.csv", "training.ckpt", "mlflow.db"} <= {path.name for path in trained.iterdir()}
    with (trained / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert 0 <= float(rows[-1]["synthetic_pixel_auroc"]) <= 1
    assert not [path for path in trained.rglob("*") if path.suffix == ".tmp"]


def test_evaluation_writes_cohorts_null_maps_pictures_and_a_table(ask, tmp_path: Path) -> None:
    done = ask("evaluate.json", *SIZE, "--replicates", "200")
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
    kept = read_predictions(tmp_path / "out")
    assert (len(kept.cases), kept.map(0).shape, kept.image(47).shape) == (48, (224, 224), (224, 224))
    assert kept.journal.pipeline is not None
    assert kept.journal.pipeline["image_size"] == 64
    assert kept.journal.model_digest == document["model_digest"]
    synthetic = json.loads((tmp_path / "out" / "synthetic.json").read_text())
    assert synthetic["n_normal"] == 16
    assert "centre blob" in done.stdout


def test_inference_writes_a_score_and_a_map_of_each_image(ask, tmp_path: Path) -> None:
    ask("inference.json", *SIZE)
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    written = np.asarray(Image.open(tmp_path / "out" / "maps" / f"{rows[0]['image']}.png"))
    assert written.shape == (256, 256)
    assert written.dtype == np.uint16
    assert written.std() > 0


def test_inference_has_the_scores_of_the_evaluation(ask, tmp_path: Path) -> None:
    """Scores of a network that nobody loaded would look as plausible."""
    for config, options in (("evaluate.json", ("--replicates", "20", "--overlays", "0")), ("inference.json", ())):
        ask(config, *SIZE, *options)
    with (tmp_path / "out" / "scores.csv").open() as file:
        scores = {row["image"]: float(row["score"]) for row in csv.DictReader(file)}
    with (tmp_path / "out" / "images.csv").open() as file:
        expected = {row["case_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == pytest.approx(expected, abs=1e-5)
    assert len(set(scores.values())) > 1


def test_a_folder_of_a_hospital_is_scored_under_keyed_names_only(ask, nih_mini: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ward" / "JONES^MARY"
    folder.mkdir(parents=True)
    for path in sorted((nih_mini / "images").iterdir())[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    config = ["inference.json", str(ROOT / "configs" / "datasets" / "image_folder.json")]
    options = [*SIZE, "--dataset_dir", str(tmp_path / "ward")]
    out = tmp_path / "out"
    refused = ask(config, *options, status=2)
    assert "--identifier_key_file" in refused.stderr
    assert not list(out.rglob("*.csv"))

    (tmp_path / "site.key").write_text("7d1e" * 16)
    options += ["--identifier_key_file", str(tmp_path / "site.key")]
    ask(config, *options)
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert len(rows) == 3
    assert sorted(path.stem for path in (out / "maps").iterdir()) == sorted(row["image"] for row in rows)
    written = " ".join(str(path) for path in out.rglob("*")) + (out / "scores.csv").read_text()
    assert "JONES" not in written
    assert not any(path.stem in written for path in folder.iterdir())


def test_held_out_normals_can_be_evaluated_though_nothing_is_abnormal(ask, tmp_path: Path) -> None:
    ask("evaluate.json", *SIZE, "--section", "val", "--replicates", "20")
    everyone = read_document(tmp_path / "out" / "metrics.json")["cohorts"]["all"]
    assert everyone["n_images"] > 0
    assert everyone["n_abnormal"] == 0
    assert everyone["metrics"]["image_auroc"]["reason"]
    assert json.loads((tmp_path / "out" / "synthetic.json").read_text())["n_normal"] == everyone["n_images"]


@pytest.mark.parametrize(
    ("config", "option", "value"),
    [("train.json", "--multicrop#local_size", "100"), ("evaluate.json", "--replicates", "0")],
)
def test_values_that_cannot_work_are_refused_by_name(
    bundle_run, tmp_path: Path, config: str, option: str, value: str
) -> None:
    done = bundle_run(config, option, value, "--output_dir", str(tmp_path / "out"), cwd=tmp_path, status=2)
    assert option.removeprefix("--") in done.stderr
    assert value in done.stderr
    assert not (tmp_path / "out" / "model.pt").exists()


def test_a_model_of_another_architecture_is_refused(ask, tmp_path: Path) -> None:
    done = ask("evaluate.json", "--architecture", "vit_small_patch16_224", status=2)
    assert "does not fit this network" in done.stderr


@pytest.mark.slow
def test_several_processes_train_one_model(bundle_processes, tmp_path: Path) -> None:
    small = ("--source_size", "64", "--multicrop#local_size", "32", "--epochs", "1")
    bundle_processes(2, *SIZE, *small, "--output_dir", str(tmp_path / "out"), cwd=tmp_path)
    assert (tmp_path / "out" / "model.pt").is_file()
    with (tmp_path / "out" / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
