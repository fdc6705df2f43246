"""Fine-tune and evaluate the bundle `apmask` at several sizes by MONAI's own command, on real radiographs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from vitad_med.checkpoint import save_safetensors
from vitad_med.evaluation.document import read_document
from vitad_med.networks.distillation import DistillationNetwork
from vitad_med.predictions.reader import read_predictions

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "apmask"
SMALL = ("--image_size", "64", "--multicrop#local_size", "32", "--epochs", "1", "--head_hidden", "32")
NETWORK = ("--image_size", "64", "--head_hidden", "32")
VOTE = ("--sizes", "[64,96]", "--image_score", "vote")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with its head, as pre-training leaves them."""
    torch.manual_seed(0)
    network = DistillationNetwork(
        weights="embedded", image_size=64, prototypes=20, head_hidden=32, head_batch_norm=False
    )
    state = dict(network.encoder.state_dict())
    state |= {f"head.trunk.{name}": value for name, value in network.head.trunk.state_dict().items()}
    path = tmp_path_factory.mktemp("pretrained") / "encoder.safetensors"
    save_safetensors(path, state, {"mean": "[0.5, 0.5, 0.5]", "std": "[0.25, 0.25, 0.25]"})
    return path


@pytest.fixture(scope="module")
def finetuned(bundle_run, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of one epoch from that encoder, with its head."""
    folder = tmp_path_factory.mktemp("finetuned")
    words = ("--weights", str(pretrained), "--transfer_head", "True", "--tracking_uri", "none")
    bundle_run("train.json", *SMALL, *words, "--output_dir", str(folder / "out"), cwd=folder, bundle=BUNDLE)
    return folder / "out"


@pytest.fixture(scope="module")
def ask(finetuned: Path, bundle_run, tmp_path_factory: pytest.TempPathFactory):
    """Run a config with the fine-tuned model at two sizes, scored by vote; the output folder."""

    def run(config: str, *options: str) -> Path:
        folder = tmp_path_factory.mktemp("asked")
        words = ("--weights", str(finetuned / "model.pt"), *NETWORK, "--output_dir", str(folder / "out"), *options)
        bundle_run(config, *words, *VOTE, cwd=folder, bundle=BUNDLE)
        return folder / "out"

    return run


@pytest.fixture(scope="module")
def evaluated(ask) -> Path:
    return ask("evaluate.json", "--replicates", "50", "--tracking_uri", "none")


def test_fine_tuning_leaves_a_model_and_its_history(finetuned: Path) -> None:
    with (finetuned / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
    assert (finetuned / "model.pt").is_file()


def test_several_sizes_are_evaluated_and_the_run_says_how(evaluated: Path) -> None:
    kept = read_predictions(evaluated)
    assert kept.journal.pipeline is not None
    assert kept.journal.pipeline["sizes"] == "64, 96"
    assert kept.journal.pipeline["image_score"] == "vote"
    assert str(kept.journal.score_rule).startswith("share of image sizes")
    assert set(kept.scores.tolist()) <= {0.0, 0.25, 0.75, 1.0}
    assert kept.map(0).shape == (224, 224)
    document = read_document(evaluated / "metrics.json")
    synthetic = json.loads((evaluated / "synthetic.json").read_text())
    for told in (document, synthetic):
        assert told["pipeline"] == kept.journal.pipeline
        assert told["score_rule"] == kept.journal.score_rule
    everyone = document["cohorts"]["all"]
    assert everyone["metrics"]["conditioned_auroc"]["value"] is not None
    assert json.loads((evaluated / "synthetic.json").read_text())["n_normal"] == 16


def test_inference_has_the_scores_of_the_evaluation(ask, evaluated: Path) -> None:
    scored = ask("inference.json", "--maps", "False")
    with (scored / "scores.csv").open() as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    assert scores == read_predictions(evaluated).scores.tolist()


def test_a_missing_model_is_named(bundle_run, tmp_path: Path) -> None:
    words = ("--weights", "absent.pt", "--output_dir", str(tmp_path / "out"))
    done = bundle_run("evaluate.json", *words, cwd=tmp_path, bundle=BUNDLE, status=2)
    assert "checkpoint 'absent.pt' does not exist: train first" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_fine_tuning_runs_from_its_defaults(bundle_run, tmp_path: Path) -> None:
    done = bundle_run("train.json", "--epochs", "2", "--output_dir", str(tmp_path / "out"), cwd=tmp_path, bundle=BUNDLE)
    said = done.stdout + done.stderr
    assert (
        "training images: 58 normal of 58 patients; left out: 0 abnormal as labelled, 6 normal for validation" in said
    )
    with (tmp_path / "out" / "history.csv").open() as file:
        first, last = csv.DictReader(file)
    assert float(last["loss"]) < float(first["loss"])


@pytest.mark.slow
def test_the_shipped_model_evaluates_at_six_sizes_with_no_other_flag(bundle_run, tmp_path: Path) -> None:
    bundle_run("evaluate.json", cwd=tmp_path, bundle=BUNDLE)
    out = tmp_path / "outputs" / "apmask"
    synthetic = json.loads((out / "synthetic.json").read_text())
    assert synthetic["pipeline"]["sizes"] == "224, 320, 384, 416, 448, 512"
    # Sixteen normal images, so with room for chance.
    assert synthetic["synthetic_image_auroc"] > 0.7
    assert synthetic["synthetic_pixel_auroc"] > 0.8
    assert read_document(out / "metrics.json")["cohorts"]["sex=F"]["metrics"]["conditioned_auroc"]["value"] is not None
