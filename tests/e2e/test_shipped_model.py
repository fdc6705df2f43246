"""The model in the repository knows synthetic anomalies in images that it never saw, and evaluates as documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitad_med.evaluation.document import read_document


def evaluate(bundle_run, folder: Path, *options: str) -> dict[str, float]:
    done = bundle_run("evaluate.json", "--output_dir", str(folder), *options, cwd=folder.parent)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
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
