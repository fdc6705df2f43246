"""The handler keeps what it evaluated: figures computed from the folder are those of metrics.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.utils.enums import CommonKeys
from PIL import Image

from vitad_med.data.case import Case
from vitad_med.data.image_io import read_image, resize, to_channels
from vitad_med.data.registry import read_cases
from vitad_med.errors import ConfigError, DataError
from vitad_med.evaluation.collect import EvaluateCohorts
from vitad_med.evaluation.document import Document
from vitad_med.evaluation.run import evaluate_predictions
from vitad_med.evaluation.truth import truth_masks
from vitad_med.outputs import AnomalyOutput
from vitad_med.predictions.identifiers import Identifiers
from vitad_med.predictions.reader import read_predictions

FIGURES = {"eval_size": 24, "replicates": 30, "by": [("sex",), ("view",), ("finding",)], "overlays": 0}
# Pictures are kept in 16 bits; the null maps that look at them see values rounded by up to 1/131070.
PICTURE_NULLS = ("brightness", "brightness_ranked", "mirror_difference")


def evaluate(cases: Sequence[Case], folder: Path, side: int = 30, **options: Any) -> EvaluateCohorts:
    """Score images in batches of 7 by a map that has a larger grid than the evaluation, and evaluate."""
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(len(cases), 1, side, side, generator=random)
    scores = torch.randn(len(cases), generator=random) + torch.tensor([case.label for case in cases])

    def score(_: Engine, batch: dict[str, torch.Tensor]) -> dict[str, AnomalyOutput]:
        return {CommonKeys.PRED: AnomalyOutput(scores[batch["index"]], maps[batch["index"]])}

    engine = Engine(score)
    handler = EvaluateCohorts(cases, folder, "ours", "m" * 64, **{**FIGURES, **options})
    handler.attach(engine)
    engine.run([{"index": part} for part in torch.arange(len(cases)).split(7)])
    return handler


def figures_again(folder: Path, output_dir: Path, eval_size: int) -> Document:
    found = read_predictions(folder)
    localized = [index for index, case in enumerate(found.cases) if case.localized]
    maps = np.stack([found.map(index) for index in localized])
    names = {"bundle": "ours", "model_digest": "m" * 64, "data_digest": "d"}
    return evaluate_predictions(
        found.cases, found.scores, maps, output_dir, **{**FIGURES, "eval_size": eval_size}, **names
    )


def check_figures(document: Document, again: Document, of_pictures: float) -> None:
    assert document["cohorts"].keys() == again["cohorts"].keys()
    compared = 0
    for key, cohort in document["cohorts"].items():
        other = again["cohorts"][key]
        for name, value in cohort["metrics"].items():
            for part in ("value", "low", "high"):
                assert other["metrics"][name][part] == pytest.approx(value[part], abs=1e-6), (key, name, part)
                compared += value[part] is not None
        for null, values in cohort["nulls"].items():
            tolerance = of_pictures if null in PICTURE_NULLS else 1e-6
            assert other["nulls"][null] == pytest.approx(values, abs=tolerance), (key, null)
    assert compared > 50


def test_the_figures_of_a_synthetic_study_can_be_computed_again(study: Any, tmp_path: Path) -> None:
    handler = evaluate(study.cases, tmp_path / "run")
    assert handler.document is not None
    check_figures(handler.document, figures_again(tmp_path / "run", tmp_path / "again", 24), of_pictures=5e-4)


def test_the_figures_of_real_radiographs_can_be_computed_again(nih_mini: Path, tmp_path: Path) -> None:
    cases = read_cases("nih_chestxray14", nih_mini, "test")
    handler = evaluate(cases, tmp_path / "run", eval_size=112)
    assert handler.document is not None
    check_figures(handler.document, figures_again(tmp_path / "run", tmp_path / "again", 112), of_pictures=1e-3)
    for case, read in zip(cases, read_predictions(tmp_path / "run").cases, strict=True):
        assert read == replace(case, image_path=read.image_path)


def test_pictures_are_the_images_resized_whole(nih_mini: Path, tmp_path: Path) -> None:
    cases = read_cases("nih_chestxray14", nih_mini, "test")[:8]
    evaluate(cases, tmp_path / "run")
    found = read_predictions(tmp_path / "run")
    for index, case in enumerate(cases):
        expected = to_channels(resize(read_image(case.image_path), 24), 1)[0]
        assert np.abs(found.image(index) - expected).max() <= 0.5001 / 65535


def test_the_journal_says_where_the_scores_come_from(study: Any, tmp_path: Path) -> None:
    handler = evaluate(
        study.cases,
        tmp_path,
        pipeline={"image_size": 30},
        backend={"name": "torch", "device": "cpu", "precision": "float32"},
        score_rule="a rule",
        seed=3,
    )
    assert handler.document is not None
    journal = read_predictions(tmp_path).journal
    assert (journal.method, journal.source, journal.public) == ("ours", "nih_chestxray14", True)
    assert (journal.eval_size, journal.seed, journal.score_rule) == (24, 3, "a rule")
    assert journal.model_digest == "m" * 64
    assert journal.data_digest == json.loads((tmp_path / "metrics.json").read_text())["data_digest"]
    assert journal.pipeline_digest != journal.backend_digest
    assert None not in (journal.pipeline_digest, journal.backend_digest, journal.created)
    assert str(journal.software).startswith("vitad_med ")


def test_other_settings_have_another_digest_and_the_same_ones_the_same(study: Any, tmp_path: Path) -> None:
    digests = []
    for name, size in (("a", 30), ("b", 30), ("c", 31)):
        evaluate(study.cases, tmp_path / name, pipeline={"image_size": size})
        digests.append(read_predictions(tmp_path / name).journal.pipeline_digest)
    assert digests[0] == digests[1] != digests[2]


def test_predictions_are_kept_unless_declined(study: Any, tmp_path: Path) -> None:
    evaluate(study.cases, tmp_path, keep_predictions=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.csv", "metrics.json"]


def test_masks_of_objects_are_kept_as_they_were_compared(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    cases = []
    for index in range(6):
        name = f"screw/test/{'good' if index < 3 else 'thread'}/{index:03d}"
        image, mask = tmp_path / "data" / f"{index}.png", tmp_path / "data" / f"{index}_mask.png"
        Image.fromarray(rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(image)
        pixels = np.zeros((50, 60), np.uint8)
        pixels[10 + index : 14 + 2 * index, 20:33] = 255
        Image.fromarray(pixels).save(mask)
        case = Case(name, name, image, "mvtec", "test", int(index >= 3), group="screw")
        cases.append(replace(case, mask_path=mask, findings=("thread",)) if index >= 3 else case)
    evaluate(cases, tmp_path / "run")
    found = read_predictions(tmp_path / "run")
    assert [case.case_id for case in found.cases] == [case.case_id for case in cases]
    assert np.array_equal(truth_masks(found.cases[3:], 24), truth_masks(cases[3:], 24))


@pytest.mark.parametrize("identifiers", [None, "hashed"])
def test_a_hospital_needs_its_key_before_anything_is_scored(
    study: Any, tmp_path: Path, identifiers: Identifiers | None
) -> None:
    cases = [replace(case, source="image_folder") for case in study.cases]
    with pytest.raises(ConfigError, match="identifier_key_file"):
        evaluate(cases, tmp_path / "run", identifiers=identifiers)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_run_leaves_the_former_predictions(study: Any, tmp_path: Path) -> None:
    evaluate(study.cases, tmp_path / "run")
    before = read_predictions(tmp_path / "run").digest
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    cases = [*study.cases[:-1], replace(study.cases[-1], image_path=broken)]
    with pytest.raises(DataError, match=r"broken\.png"):
        evaluate(cases, tmp_path / "run")
    assert read_predictions(tmp_path / "run").digest == before
