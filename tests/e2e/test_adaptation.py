"""Statistics, adaptation, guard and lineage of the real bundle by MONAI's own command, on real radiographs."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from vitad_med.adaptation.audit import read_audit
from vitad_med.adaptation.lineage import read_lineage
from vitad_med.checkpoint import load_checkpoint
from vitad_med.digests import file_digest
from vitad_med.evaluation.document import read_document
from vitad_med.predictions.reader import read_predictions

SIZE = ("--image_size", "64")


@pytest.fixture(scope="module")
def statistics(trained: Path, bundle_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("statistics")
    model = ("--weights", str(trained / "model.pt"))
    done = bundle_run("summarize.json", *SIZE, *model, "--output_dir", str(folder), cwd=folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "statistics.safetensors"


@pytest.fixture
def adapt(trained: Path, statistics: Path, bundle_run, tmp_path: Path):
    """Run adapt.json with the trained model; results go to ``out`` below ``tmp_path`` unless told otherwise."""

    def run(*options: str, out: str = "out"):
        model = ("--weights", str(trained / "model.pt"), "--statistics", str(statistics))
        small = ("--replicates", "20", "--overlays", "0")
        return bundle_run(
            "adapt.json", *SIZE, *model, *small, "--output_dir", str(tmp_path / out), *options, cwd=tmp_path
        )

    return run


def passed(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


def scores(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "scores.csv").open() as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_online_adaptation_leaves_everything_that_an_audit_needs(adapt, trained: Path, tmp_path: Path) -> None:
    source = file_digest(trained / "model.pt")
    passed(adapt("--learning_rate", "0.01", "--guard", "observe"))
    out = tmp_path / "out"
    assert file_digest(trained / "model.pt") == source

    rows = scores(out)
    assert len(rows) == 48
    assert sorted({int(row["batch"]) for row in rows.values()}) == [0, 1, 2]
    first = [row for row in rows.values() if row["batch"] == "0"]
    assert all(float(row["source"]) == pytest.approx(float(row["before_step"]), abs=2e-5) for row in first)
    assert any(row["before_step"] != row["after_step"] for row in rows.values())

    lines = read_audit(out / "audit.jsonl")
    assert [line["event"] for line in lines] == ["start", "step", "step", "step", "finish"]
    steps = [line for line in lines if line["event"] == "step"]
    assert all(line["loss"] > 0 and line["gradient_norm"] > 0 and line["guard"] for line in steps)

    lineage = read_lineage(out / "adapted" / "lineage.json")
    assert (lineage.method, lineage.mode, lineage.steps, lineage.kept) == ("alignment", "online", 3, 3)
    before, after = load_checkpoint(trained / "model.pt"), load_checkpoint(out / "adapted" / "model.pt")
    moved = {name for name in before if not torch.equal(before[name].float(), after[name])}
    # Eq. 12 does not reach the head, nor what comes after the attention that it aligns.
    assert moved
    assert all(name.startswith("encoder.blocks") and "norm" in name for name in moved)

    chosen, other = read_document(out / "metrics.json"), read_document(out / "other" / "metrics.json")
    assert chosen["cohorts"]["all"]["n_images"] == other["cohorts"]["all"]["n_images"] == 48
    kept = read_predictions(out)
    assert kept.journal.pipeline is not None
    assert kept.journal.pipeline["method"] == "alignment"
    summary = json.loads((out / "adaptation.json").read_text())
    assert (summary["batches"], summary["updates"], summary["rolled_back"]) == (3, 3, 0)
    assert not (out / "unfinished").exists()


def test_it_stands_in_mlflow_beside_the_unadapted_run(adapt, trained: Path, bundle_run, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    common = ("--tracking_uri", uri, "--replicates", "20", "--overlays", "0", "--synthetic_check", "False")
    model = ("--weights", str(trained / "model.pt"))
    passed(bundle_run("evaluate.json", *SIZE, *model, *common, "--output_dir", str(tmp_path / "plain"), cwd=tmp_path))
    passed(adapt("--tracking_uri", uri, "--method", "tent"))
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"evaluate", "adapt"}
    assert all(run.info.status == "FINISHED" for run in runs.values())
    assert runs["adapt"].data.params["method"] == "tent"
    assert {"updates", "rolled_back"} <= runs["adapt"].data.metrics.keys()
    shared = runs["evaluate"].data.metrics.keys() & runs["adapt"].data.metrics.keys()
    assert any("conditioned_auroc" in name for name in shared)


def test_none_is_the_plain_evaluation(adapt, trained: Path, bundle_run, tmp_path: Path) -> None:
    passed(adapt("--method", "none"))
    model = ("--weights", str(trained / "model.pt"))
    options = ("--replicates", "20", "--overlays", "0", "--synthetic_check", "False")
    passed(bundle_run("evaluate.json", *SIZE, *model, *options, "--output_dir", str(tmp_path / "plain"), cwd=tmp_path))
    ours, plain = (read_document(tmp_path / name / "metrics.json") for name in ("out", "plain"))
    for metric in ("image_auroc", "conditioned_auroc", "pixel_auroc"):
        one, two = (document["cohorts"]["all"]["metrics"][metric]["value"] for document in (ours, plain))
        assert one == pytest.approx(two, abs=2e-4)
    assert not (tmp_path / "out" / "adapted").exists()


def test_transductive_adaptation_comes_first_and_the_source_is_reported_beside_it(adapt, tmp_path: Path) -> None:
    passed(adapt("--mode", "transductive", "--iterations", "5", "--learning_rate", "0.01", "--guard", "off"))
    out = tmp_path / "out"
    rows = scores(out)
    # Every image is asked once, after all updates: before is the source model.
    assert all(row["source"] == row["before_step"] for row in rows.values())
    assert any(row["after_step"] != row["source"] for row in rows.values())
    assert json.loads((out / "adaptation.json").read_text())["updates"] == 5
    adapted = load_checkpoint(out / "adapted" / "model.pt")
    assert all(value.dtype == torch.float32 for value in adapted.values() if value.is_floating_point())


def test_the_adapted_model_evaluates_as_it_predicted(adapt, bundle_run, tmp_path: Path) -> None:
    passed(adapt("--mode", "transductive", "--iterations", "5", "--learning_rate", "0.01", "--guard", "off"))
    options = ("--weights", str(tmp_path / "out" / "adapted" / "model.pt"), "--output_dir", str(tmp_path / "again"))
    small = ("--replicates", "20", "--overlays", "0", "--synthetic_check", "False")
    passed(bundle_run("evaluate.json", *SIZE, *options, *small, cwd=tmp_path))
    kept = read_predictions(tmp_path / "again")
    rows = scores(tmp_path / "out")
    for case, score in zip(kept.cases, kept.scores, strict=True):
        assert float(rows[case.case_id]["after_step"]) == pytest.approx(float(score), abs=1e-5)


def test_episodic_adaptation_has_no_model_of_its_own(adapt, tmp_path: Path) -> None:
    passed(adapt("--mode", "episodic", "--learning_rate", "0.01", "--guard", "off"))
    rows = scores(tmp_path / "out")
    # It starts from the source model in every batch.
    assert all(float(r["source"]) == pytest.approx(float(r["before_step"]), abs=2e-5) for r in rows.values())
    assert any(row["before_step"] != row["after_step"] for row in rows.values())
    assert not (tmp_path / "out" / "adapted").exists()


def test_batches_of_one_image_and_of_one_class(adapt, tmp_path: Path) -> None:
    passed(adapt("--batch_size", "1", "--guard", "off"))
    steps = [line for line in read_audit(tmp_path / "out" / "audit.jsonl") if line["event"] == "step"]
    assert len(steps) == 48
    assert all(0 in line["pseudo_classes"].values() and line["loss"] >= 0 for line in steps)


def test_boxed_only_leaves_the_normals_to_be_predicted_only(adapt, tmp_path: Path) -> None:
    passed(adapt("--adapt_on", "boxed_only", "--guard", "off"))
    assert len(scores(tmp_path / "out")) == 48


def test_statistics_of_another_model_are_refused(adapt, statistics: Path, tmp_path: Path) -> None:
    other = Path(__file__).resolve().parents[2] / "bundles" / "attn_synth" / "models" / "model.pt"
    refused(adapt("--weights", str(other)), "another model")
    refused(adapt("--image_size", "96"), "image_size 64")
    refused(adapt("--statistics", str(tmp_path / "none.safetensors")), "none.safetensors")
    (tmp_path / "half.safetensors").write_bytes(statistics.read_bytes()[:200])
    refused(adapt("--statistics", str(tmp_path / "half.safetensors")), "half.safetensors")
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_an_empty_folder_and_mistyped_values_are_refused(adapt, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(adapt("--dataset_dir", str(tmp_path / "empty")), "empty")
    refused(adapt("--method", "alignement"), "--method", "alignment")
    refused(adapt("--guard", "True"), "--guard", "rollback")
    refused(adapt("--modus", "online"), "--modus", "mode")


@pytest.mark.parametrize("mode", ["online", "transductive"])
def test_after_an_interruption_it_goes_on_to_the_same_result(
    adapt, bundle_command, trained: Path, statistics: Path, tmp_path: Path, mode: str
) -> None:
    options = ("--mode", mode, "--iterations", "60", "--batch_size", "2", "--learning_rate", "0.01", "--guard", "off")
    fast = ("--progress#interval", "0.0")
    passed(adapt(*options, *fast, out="whole"))
    model = ("--weights", str(trained / "model.pt"), "--statistics", str(statistics))
    small = ("--replicates", "20", "--overlays", "0")
    line = bundle_command("adapt.json", *SIZE, *model, *small, *options, *fast, "--output_dir", str(tmp_path / "out"))
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    audit = tmp_path / "out" / "audit.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if audit.is_file() and audit.read_text().count('"step"') >= 6:
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.02)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors.decode()[-2000:]
    assert b"the source model is as it was" in errors
    assert (tmp_path / "out" / "unfinished" / "state.pt").is_file()

    # Other settings are refused; the same ones go on.
    refused(adapt(*options, *fast, "--seed", "9"), "--resume False")
    passed(adapt(*options, *fast))
    assert "resume" in [line["event"] for line in read_audit(audit)]
    one, two = (load_checkpoint(tmp_path / name / "adapted" / "model.pt") for name in ("whole", "out"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (tmp_path / "whole" / "scores.csv").read_bytes() == (tmp_path / "out" / "scores.csv").read_bytes()

    passed(adapt(*options, *fast, "--resume", "False", "--seed", "9"))


def test_a_poisoned_stream_is_rolled_back(adapt, nih_mini: Path, tmp_path: Path) -> None:
    """Nearly constant images and a reckless rate: the guard takes back what would ruin the model."""
    from PIL import Image

    folder = tmp_path / "poison"
    folder.mkdir()
    for number in range(24):
        picture = Image.new("L", (64, 64), 200)
        picture.putpixel((number, number), 0)
        picture.save(folder / f"{number:02d}.png")
    root = Path(__file__).resolve().parents[2]
    options = ("--data", "image_folder", "--dataset_dir", str(folder), "--identifiers", "clear")
    source = ("--source_data", "nih_chestxray14", "--source_dataset_dir", str(root / "examples" / "nih_mini"))
    reckless = ("--method", "pseudo_label", "--learning_rate", "5.0", "--clip_norm", "100.0", "--batch_size", "8")
    passed(adapt(*options, *source, *reckless, "--guard_level", "0.5", "--adapter#guard_mode", "rollback"))
    summary = json.loads((tmp_path / "out" / "adaptation.json").read_text())
    assert summary["updates"] == 3
    assert summary["rolled_back"] > 0
    rows = scores(tmp_path / "out")
    undone = [
        line["step"] for line in read_audit(tmp_path / "out" / "audit.jsonl") if line.get("decision") == "rolled_back"
    ]
    assert all(row["before_step"] == row["after_step"] for row in rows.values() if int(row["batch"]) in undone)
