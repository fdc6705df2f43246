"""The model in the repository knows synthetic anomalies in images that it never saw, and evaluates as documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitad_med.cli import main
from vitad_med.evaluation.document import read_document
from vitad_med.reporting.document.document import read_report


def evaluate(bundle_run, folder: Path, *options: str) -> dict[str, float]:
    bundle_run("evaluate.json", "--output_dir", str(folder), *options, cwd=folder.parent)
    return json.loads((folder / "synthetic.json").read_text())


@pytest.mark.slow
def test_it_evaluates_the_embedded_images_with_no_other_flag(bundle_run, tmp_path: Path) -> None:
    figures = evaluate(bundle_run, tmp_path / "out", "--replicates", "100")
    # Sixteen normal images, so with room for chance.
    assert figures["synthetic_image_auroc"] > 0.75
    assert figures["synthetic_pixel_auroc"] > 0.85


@pytest.mark.slow
def test_it_reaches_90_on_synthetic_anomalies_of_unseen_normals(bundle_run, shared_data: Path, tmp_path: Path) -> None:
    figures = evaluate(bundle_run, tmp_path / "out", "--dataset_dir", str(shared_data / "nih_cxr14_dev"))
    assert figures["n_normal"] == 256
    assert figures["synthetic_image_auroc"] >= 0.9
    assert figures["synthetic_pixel_auroc"] >= 0.9
    assert figures["synthetic_conditioned_auroc"] >= 0.9
    cohorts = read_document(tmp_path / "out" / "metrics.json")["cohorts"]
    # Null maps of the protocol, from the written file: pooled, men and women.
    for sex, blob, prior, brightness in (("M", 0.7796, 0.8073, 0.5627), ("F", 0.8118, 0.8316, 0.5977)):
        nulls = cohorts[f"sex={sex}"]["nulls"]
        assert nulls["centre_blob"]["pixel_auroc"] == pytest.approx(blob, abs=5e-4)
        assert nulls["box_prior"]["pixel_auroc"] == pytest.approx(prior, abs=5e-4)
        assert nulls["brightness"]["pixel_auroc"] == pytest.approx(brightness, abs=2e-3)
    # The report of this run says the same, from the run's own files.
    assert main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "report"), "--replicates", "500"]) == 0
    report = read_report(tmp_path / "report" / "report.json")
    for key in ("all", "sex=M", "sex=F", "view=PA", "view=AP"):
        own = cohorts[key]["metrics"]
        for metric, figure in report["cohorts"][key]["localization"].items():
            if metric in own:
                assert figure["value"] == pytest.approx(own[metric]["value"], abs=5e-5), (key, metric)
        assert report["cohorts"][key]["image"]["image_auroc"]["value"] == own["image_auroc"]["value"]
    for sex, brightness in (("M", 0.5926), ("F", 0.5534)):
        null = report["cohorts"][f"sex={sex}"]["nulls"]["brightness"]["conditioned_auroc"]
        assert null["value"] == pytest.approx(brightness, abs=2e-3)
    assert report["cohorts"]["all"]["verdict"]["answer"] == "no"


def test_a_report_follows_an_evaluation_of_the_embedded_images(bundle_run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    evaluated = ["--output_dir", str(folder), "--replicates", "100", "--synthetic_check", "False"]
    bundle_run("evaluate.json", *evaluated, cwd=tmp_path)
    words = ["report", str(folder), "--cohorts", "sex,view", "--fpr", "0.2", "--replicates", "100"]
    assert main([*words, "--permutations", "100", "--out", str(tmp_path / "report")]) == 0
    report = read_report(tmp_path / "report" / "report.json")
    journal = json.loads((folder / "predictions" / "run.json").read_text())
    assert report["created"] == journal["created"]
    assert report["method"]["model_digest"] == journal["model_digest"]
    document = read_document(folder / "metrics.json")
    for key in ("all", "sex=F"):
        own = document["cohorts"][key]["metrics"]["conditioned_auroc"]["value"]
        assert report["cohorts"][key]["localization"]["conditioned_auroc"]["value"] == pytest.approx(own, abs=1e-6)
    assert "data:image/jpeg" in (tmp_path / "report" / "report.html").read_text()
