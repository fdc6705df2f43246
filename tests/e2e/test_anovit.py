"""Train and evaluate the bundle `anovit`, both of its networks, by MONAI's own command, on real radiographs."""

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
BUNDLE = ROOT / "bundles" / "anovit"
SIZE = ("--image_size", "64", "--widths", "[32,16]", "--strides", "[2,2,1]")


@pytest.fixture(scope="module", params=["anovit", "l2_cae"])
def model(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def trained(bundle_run, model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of two epochs, run from a folder that is not the repository."""
    folder = tmp_path_factory.mktemp("trained")
    words = ("--model", model, *SIZE, "--epochs", "2", "--output_dir", str(folder / "out"))
    done = bundle_run("train.json", *words, cwd=folder, bundle=BUNDLE)
    assert "kept epoch" in done.stdout
    return folder / "out"


@pytest.fixture(scope="module")
def ask(trained: Path, model: str, bundle_run, tmp_path_factory: pytest.TempPathFactory):
    """Run a config with the trained model; the output folder."""

    def run(config: str, *options: str) -> Path:
        folder = tmp_path_factory.mktemp("asked")
        words = ("--weights", str(trained / "model.pt"), "--model", model, *SIZE, "--output_dir", str(folder / "out"))
        bundle_run(config, *words, *options, cwd=folder, bundle=BUNDLE)
        return folder / "out"

    return run


@pytest.fixture(scope="module")
def evaluated(ask) -> Path:
    return ask("evaluate.json", "--replicates", "50", "--tracking_uri", "none")


def test_training_leaves_model_history_and_tracking(trained: Path) -> None:
    assert {"model.pt", "history.csv", "training.ckpt", "mlflow.db"} <= {path.name for path in trained.iterdir()}
    with (trained / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert 0 < float(rows[1]["validation_error"]) < float(rows[0]["validation_error"])
    assert not [path for path in trained.rglob("*") if path.suffix == ".tmp"]


def test_an_evaluation_has_cohorts_null_maps_and_says_what_scored(evaluated: Path, model: str) -> None:
    document = read_document(evaluated / "metrics.json")
    assert {"all", "sex=M", "sex=F", "view=PA", "view=AP"} <= document["cohorts"].keys()
    everyone = document["cohorts"]["all"]
    assert everyone["metrics"]["conditioned_auroc"]["value"] is not None
    assert everyone["nulls"]["centre_blob"]["conditioned_auroc"] == 0.5
    kept = read_predictions(evaluated)
    assert kept.journal.pipeline is not None
    assert kept.journal.pipeline["model"] == model
    assert (kept.journal.pipeline["error"], kept.journal.pipeline["strides"]) == ("l2", "2, 2, 1")
    assert str(kept.journal.score_rule).startswith("maximum over pixels of the reconstruction error")
    assert kept.journal.model_digest == document["model_digest"]
    assert kept.map(0).shape == (224, 224)
    assert kept.map(0).std() > 0
    assert len(set(kept.scores.tolist())) == 48
    assert json.loads((evaluated / "synthetic.json").read_text())["n_normal"] == 16


def test_inference_has_the_scores_of_the_evaluation_and_writes_maps(ask, evaluated: Path) -> None:
    scored = ask("inference.json")
    with (scored / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = read_predictions(evaluated).scores.tolist()
    assert [float(row["score"]) for row in rows] == pytest.approx(scores, abs=1e-6)
    written = np.asarray(Image.open(scored / "maps" / f"{rows[0]['image']}.png"))
    assert (written.shape, written.dtype) == ((256, 256), np.uint16)
    # The score is the maximum of the map at the network's size.
    assert written.max() / 65535 == pytest.approx(scores[0], rel=0.1)


def test_a_model_of_the_other_network_is_refused(trained: Path, model: str, bundle_run, tmp_path: Path) -> None:
    other = "l2_cae" if model == "anovit" else "anovit"
    words = ("--weights", str(trained / "model.pt"), "--model", other, *SIZE, "--output_dir", str(tmp_path / "out"))
    done = bundle_run("evaluate.json", *words, cwd=tmp_path, bundle=BUNDLE, status=2)
    assert "is of another network" in done.stderr.splitlines()[-1]
    assert "set model as in its training (bundles/anovit: 'anovit' or 'l2_cae')" in done.stderr


@pytest.mark.slow
def test_several_processes_train_one_model(bundle_processes, tmp_path: Path) -> None:
    words = ("--epochs", "1", "--output_dir", str(tmp_path / "out"))
    bundle_processes(2, *SIZE, *words, cwd=tmp_path, bundle=BUNDLE)
    assert (tmp_path / "out" / "model.pt").is_file()
    with (tmp_path / "out" / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
