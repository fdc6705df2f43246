"""Fit and evaluate the bundle `contnet_gaussian` by MONAI's own command, on real radiographs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image

from scripts.make_dx import make_folder
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.evaluation.document import read_document
from vitad_med.normality.state import read_stored
from vitad_med.predictions.reader import read_predictions

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "contnet_gaussian"
FEATURES = ("--image_size", "64", "--channels_kept", "20")


@pytest.fixture(scope="module")
def fitted(bundle_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a fit, run from a folder that is not the repository."""
    folder = tmp_path_factory.mktemp("fitted")
    done = bundle_run("train.json", *FEATURES, "--output_dir", str(folder / "out"), cwd=folder, bundle=BUNDLE)
    assert "wrote a model of 58 normal images" in done.stdout
    assert "left out: 0 abnormal as labelled, 6 normal for validation" in done.stdout
    return folder / "out"


@pytest.fixture(scope="module")
def ask(fitted: Path, bundle_run, tmp_path_factory: pytest.TempPathFactory):
    """Run a config with the fitted model; the output folder."""

    def run(config: str, *options: str) -> Path:
        folder = tmp_path_factory.mktemp("asked")
        words = ("--weights", str(fitted / "model.safetensors"), *FEATURES, "--output_dir", str(folder / "out"))
        bundle_run(config, *words, *options, cwd=folder, bundle=BUNDLE)
        return folder / "out"

    return run


@pytest.fixture(scope="module")
def evaluated(ask) -> Path:
    return ask("evaluate.json", "--replicates", "50", "--tracking_uri", "none")


def test_a_fit_leaves_model_part_and_tracking(fitted: Path) -> None:
    assert {"model.safetensors", "model.part.safetensors", "mlflow.db"} <= {path.name for path in fitted.iterdir()}
    stored = read_stored(fitted / "model.safetensors", "model")
    assert (stored.kind, stored.provenance.grid, stored.provenance.channels) == ("gaussian", (4, 4), 20)
    assert not [path for path in fitted.rglob("*") if path.suffix == ".tmp"]
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{fitted / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("contnet_gaussian")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["images"] == 58
    assert (run.data.params["scorer"], run.data.params["channels_kept"]) == ("gaussian", "20")


def test_an_evaluation_has_cohorts_null_maps_and_says_what_scored(evaluated: Path) -> None:
    document = read_document(evaluated / "metrics.json")
    assert {"all", "sex=M", "sex=F", "view=PA", "view=AP"} <= document["cohorts"].keys()
    everyone = document["cohorts"]["all"]
    assert everyone["metrics"]["conditioned_auroc"]["value"] is not None
    assert everyone["nulls"]["centre_blob"]["conditioned_auroc"] == 0.5
    kept = read_predictions(evaluated)
    assert kept.journal.pipeline is not None
    assert kept.journal.pipeline["model"] == "gaussian, epsilon 0.01, images 58"
    assert (kept.journal.pipeline["layers"], kept.journal.pipeline["channels_kept"]) == ("-1", 20)
    assert "backbone_weights" not in kept.journal.pipeline
    assert str(kept.journal.score_rule).startswith("how far the image's features are from those of normal images")
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


def test_other_features_than_those_of_the_fit_are_one_sentence(fitted: Path, bundle_run, tmp_path: Path) -> None:
    words = ("--weights", str(fitted / "model.safetensors"), "--output_dir", str(tmp_path / "out"))
    for others, message in (
        (("--image_size", "64"), "was fitted with channels_kept 20, here it is 100"),
        ((*FEATURES, "--channels", "3"), "was fitted with channels 1, here it is 3"),
    ):
        done = bundle_run("evaluate.json", *words, *others, cwd=tmp_path, bundle=BUNDLE, status=2)
        assert message in done.stderr.splitlines()[-1]


def test_a_folder_of_dicom_files_is_fitted_under_the_sites_key(nih_mini: Path, bundle_run, tmp_path: Path) -> None:
    make_folder(read_chestxray14(nih_mini, section="train"), tmp_path / "ward")
    (tmp_path / "site.key").write_text("7d1e" * 16)
    configs = ["train.json", str(ROOT / "configs" / "datasets" / "dicom.json")]
    words = ("--dataset_dir", str(tmp_path / "ward"), "--val_fraction", "0", "--tracking_uri", "none", *FEATURES)
    secret = ("--identifier_key_file", str(tmp_path / "site.key"))
    done = bundle_run(configs, *words, *secret, "--output_dir", str(tmp_path / "out"), cwd=tmp_path, bundle=BUNDLE)
    assert "no labels: every image is taken as normal" in done.stdout
    model = read_stored(tmp_path / "out" / "model.safetensors", "model")
    assert model.settings["images"] == 64
    assert model.provenance.naming[0].startswith("keyed:")
    assert len(model.provenance.patients) > 1


@pytest.mark.slow
def test_several_processes_fit_one_model(fitted: Path, bundle_processes, tmp_path: Path) -> None:
    words = ("--tracking_uri", "none", "--output_dir", str(tmp_path / "out"))
    bundle_processes(2, *FEATURES, *words, cwd=tmp_path, bundle=BUNDLE)
    alone, together = (read_stored(folder / "model.safetensors", "model") for folder in (fitted, tmp_path / "out"))
    assert together.settings == alone.settings
    assert together.provenance.patients == alone.provenance.patients
    assert [shard.split()[0] for shard in together.provenance.shards] == ["1/2", "2/2"]
    for name, tensor in alone.tensors.items():
        torch.testing.assert_close(together.tensors[name], tensor, rtol=1e-4, atol=1e-4)
