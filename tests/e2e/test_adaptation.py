"""Statistics, adaptation, guard and lineage of the real bundle by MONAI's own command, on real radiographs."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from vitad_med.adaptation.audit import read_audit
from vitad_med.adaptation.lineage import read_lineage
from vitad_med.bundles import plain_errors
from vitad_med.checkpoint import load_checkpoint, save_checkpoint
from vitad_med.digests import file_digest
from vitad_med.errors import VitadError
from vitad_med.evaluation.document import read_document
from vitad_med.predictions.reader import read_predictions

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "attn_synth"
FEW: dict[str, Any] = {"image_size": 64, "replicates": 20, "overlays": 0}


def run(config: str, folder: Path, **options: Any) -> Path:
    """Run a config of the bundle in this process; a mistake is raised as the error that it is."""
    threads = torch.get_num_threads()
    try:
        with plain_errors():
            monai.bundle.run(
                config_file=str(BUNDLE / "configs" / config),
                bundle_root=str(BUNDLE),
                output_dir=str(folder),
                logging_file=False,
                **{"tracking_uri": "none", **options},
            )
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    return folder


@pytest.fixture(scope="module")
def statistics(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("statistics")
    run("summarize.json", folder, image_size=64, weights=str(trained / "model.pt"))
    return folder / "statistics.safetensors"


@pytest.fixture
def adapt(trained: Path, statistics: Path, tmp_path: Path):
    """Run adapt.json with the trained model; results go to ``out`` below ``tmp_path`` unless told otherwise."""

    def adapted(out: str = "out", **options: Any) -> Path:
        model = {"weights": str(trained / "model.pt"), "statistics": str(statistics)}
        return run("adapt.json", tmp_path / out, **{**FEW, **model, **options})

    return adapted


def scores(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "scores.csv").open() as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_online_adaptation_leaves_everything_that_an_audit_needs(adapt, trained: Path) -> None:
    source = file_digest(trained / "model.pt")
    out = adapt(learning_rate=0.01, guard="observe")
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
    assert (lineage.method, lineage.mode, lineage.updates, lineage.kept) == ("alignment", "online", 3, 3)
    before, after = load_checkpoint(trained / "model.pt"), load_checkpoint(out / "adapted" / "model.pt")
    moved = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    # Eq. 12 does not reach the head, nor what comes after the attention that it aligns.
    assert moved
    assert all(name.startswith("encoder.blocks") and "norm" in name for name in moved)
    assert after["head.last.weight"].dtype == torch.float32

    chosen, other = read_document(out / "metrics.json"), read_document(out / "other" / "metrics.json")
    assert chosen["cohorts"]["all"]["n_images"] == other["cohorts"]["all"]["n_images"] == 48
    kept = read_predictions(out)
    assert kept.journal.pipeline is not None
    assert kept.journal.pipeline["method"] == "alignment"
    summary = json.loads((out / "adaptation.json").read_text())
    assert (summary["batches"], summary["updates"], summary["rolled_back"]) == (3, 3, 0)
    assert not (out / "unfinished").exists()


@pytest.mark.slow
def test_it_stands_in_mlflow_beside_the_unadapted_run(adapt, trained: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    model = str(trained / "model.pt")
    run("evaluate.json", tmp_path / "plain", **FEW, weights=model, tracking_uri=uri, synthetic_check=False)
    adapt(tracking_uri=uri, method="tent")
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"evaluate", "adapt"}
    assert all(run.info.status == "FINISHED" for run in runs.values())
    assert runs["adapt"].data.params["method"] == "tent"
    assert {"updates", "rolled_back"} <= runs["adapt"].data.metrics.keys()
    run_id = runs["adapt"].info.run_id
    assert {"audit.jsonl", "metrics.json", "other", "adapted"} <= {a.path for a in client.list_artifacts(run_id)}
    assert [a.path for a in client.list_artifacts(run_id, "adapted")] == ["adapted/lineage.json"]
    assert "other/all/image_auroc" in runs["adapt"].data.metrics
    shared = runs["evaluate"].data.metrics.keys() & runs["adapt"].data.metrics.keys()
    assert any("conditioned_auroc" in name for name in shared)


@pytest.mark.slow
def test_none_is_the_plain_evaluation(adapt, trained: Path, tmp_path: Path) -> None:
    ours = adapt(method="none")
    plain = run("evaluate.json", tmp_path / "plain", **FEW, weights=str(trained / "model.pt"), synthetic_check=False)
    for metric in ("image_auroc", "conditioned_auroc", "pixel_auroc"):
        documents = (read_document(folder / "metrics.json") for folder in (ours, plain))
        one, two = (document["cohorts"]["all"]["metrics"][metric]["value"] for document in documents)
        assert one == pytest.approx(two, abs=2e-4)
    assert not (ours / "adapted").exists()


@pytest.mark.slow
def test_a_transductive_model_evaluates_as_it_predicted(adapt, tmp_path: Path) -> None:
    out = adapt(mode="transductive", iterations=5, learning_rate=0.01, guard="off")
    rows = scores(out)
    # Every image is asked once, after all updates: before is the source model.
    assert all(row["source"] == row["before_step"] for row in rows.values())
    assert any(row["after_step"] != row["source"] for row in rows.values())
    assert json.loads((out / "adaptation.json").read_text())["updates"] == 5
    model = str(out / "adapted" / "model.pt")
    kept = read_predictions(run("evaluate.json", tmp_path / "again", **FEW, weights=model, synthetic_check=False))
    for case, score in zip(kept.cases, kept.scores, strict=True):
        assert float(rows[case.case_id]["after_step"]) == pytest.approx(float(score), abs=1e-5)


@pytest.mark.slow
def test_episodic_adaptation_has_no_model_of_its_own(adapt) -> None:
    out = adapt(mode="episodic", learning_rate=0.01, guard="off")
    rows = scores(out)
    # It starts from the source model in every batch.
    assert all(float(r["source"]) == pytest.approx(float(r["before_step"]), abs=2e-5) for r in rows.values())
    assert any(row["before_step"] != row["after_step"] for row in rows.values())
    assert not (out / "adapted").exists()


@pytest.mark.slow
def test_batches_of_one_image_and_so_of_one_class(adapt) -> None:
    out = adapt(batch_size=1, guard="off")
    steps = [line for line in read_audit(out / "audit.jsonl") if line["event"] == "step"]
    assert len(steps) == 48
    assert all(0 in line["pseudo_classes"].values() and line["loss"] >= 0 for line in steps)


@pytest.mark.slow
def test_boxed_only_leaves_the_normals_to_be_predicted_only(adapt) -> None:
    rows = scores(adapt(adapt_on="boxed_only", guard="off", learning_rate=0.01))
    everyone = scores(adapt(out="all", guard="off", learning_rate=0.01))
    assert rows.keys() == everyone.keys()
    assert any(rows[name]["after_step"] != everyone[name]["after_step"] for name in rows)


def test_statistics_of_another_model_or_size_are_refused(
    adapt, trained: Path, statistics: Path, tmp_path: Path
) -> None:
    other = load_checkpoint(trained / "model.pt")
    other["head.last.bias"] = other["head.last.bias"] + 1
    save_checkpoint(tmp_path / "other.pt", other)
    with pytest.raises(VitadError, match="another model"):
        adapt(weights=str(tmp_path / "other.pt"))
    with pytest.raises(VitadError, match="image_size"):
        adapt(image_size=96)
    with pytest.raises(VitadError, match=r"none\.safetensors"):
        adapt(statistics=str(tmp_path / "none.safetensors"))
    (tmp_path / "half.safetensors").write_bytes(statistics.read_bytes()[:200])
    with pytest.raises(VitadError, match=r"half\.safetensors"):
        adapt(statistics=str(tmp_path / "half.safetensors"))
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_an_empty_folder_and_mistyped_values_are_refused(adapt, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for options, part in (
        ({"dataset_dir": str(tmp_path / "empty")}, "empty"),
        ({"method": "alignement"}, "--method.*'alignment'"),
        ({"guard": "on"}, "--guard.*'rollback'"),
        ({"modus": "online"}, "--modus.*mode"),
    ):
        with pytest.raises(VitadError, match=part):
            adapt(**options)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "transductive"])
def test_after_an_interruption_it_goes_on_to_the_same_result(
    adapt, bundle_command, trained: Path, statistics: Path, tmp_path: Path, mode: str
) -> None:
    options: dict[str, Any] = {"mode": mode, "iterations": 60, "batch_size": 2, "learning_rate": 0.01, "guard": "off"}
    options["progress#interval"] = 0.0
    whole = adapt(out="whole", **options)
    given = {**FEW, **options, "weights": str(trained / "model.pt"), "statistics": str(statistics)}
    given |= {"tracking_uri": "none", "output_dir": str(tmp_path / "out")}
    line = bundle_command("adapt.json", *(word for key, value in given.items() for word in (f"--{key}", str(value))))
    environment = {"OMP_NUM_THREADS": "2", **os.environ}
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    audit = tmp_path / "out" / "audit.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if audit.is_file() and audit.read_text().count('"step"') >= 6:
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.02)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors.decode()[-2000:]
    assert b"the source model is as it was" in errors
    assert (tmp_path / "out" / "unfinished" / "state.pt").is_file()

    # Other settings are refused; the same ones go on.
    for key, value in (("seed", 9), ("split_seed", 1), ("dice_weight", 0.1)):
        with pytest.raises(VitadError, match=f"{key}: .*--resume False"):
            adapt(**options, **{key: value})
    out = adapt(**options)
    assert "resume" in [line["event"] for line in read_audit(audit)]
    one, two = (load_checkpoint(folder / "adapted" / "model.pt") for folder in (whole, out))
    for name in one:
        # A lost or doubled batch moves them by .01. Two processes round differently; in one the state comes back bit
        # for bit (tests/adaptation/test_adapter.py).
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=2e-4)
    theirs, ours = scores(whole), scores(out)
    for name in theirs:
        for state in ("source", "before_step", "after_step"):
            assert float(ours[name][state]) == pytest.approx(float(theirs[name][state]), abs=1e-4)

    adapt(**options, resume=False, seed=9)


def test_a_poisoned_stream_is_rolled_back(adapt, tmp_path: Path) -> None:
    """Nearly constant images and a reckless rate: the guard takes back what would ruin the model."""
    folder = tmp_path / "poison"
    folder.mkdir()
    for number in range(24):
        picture = Image.new("L", (64, 64), 200)
        picture.putpixel((number, number), 0)
        picture.save(folder / f"{number:02d}.png")
    out = adapt(
        data="image_folder",
        dataset_dir=str(folder),
        identifiers="clear",
        source_data="nih_chestxray14",
        source_dataset_dir=str(ROOT / "examples" / "nih_mini"),
        method="pseudo_label",
        learning_rate=5.0,
        clip_norm=100.0,
        batch_size=8,
        guard_level=0.5,
    )
    summary = json.loads((out / "adaptation.json").read_text())
    assert summary["updates"] == 3
    assert summary["rolled_back"] > 0
    lines = read_audit(out / "audit.jsonl")
    undone = {line["step"] for line in lines if line.get("decision") == "rolled_back"}
    rows = scores(out).values()
    assert all(row["before_step"] == row["after_step"] for row in rows if int(row["batch"]) in undone)
