from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from vitad_med.data.case import Box, Case
from vitad_med.errors import DataError
from vitad_med.evaluation import null_figures
from vitad_med.evaluation.document import (
    IMAGE_METRICS,
    LOCALIZATION_METRICS,
    METRICS,
    Document,
    check_document,
    read_document,
    write_metrics,
)
from vitad_med.evaluation.null_maps import MAPS
from vitad_med.evaluation.summary import summarize
from vitad_med.evaluation.truth import truth_masks

NAMES = {"bundle": "test", "model_digest": "m", "data_digest": "d"}


def run(study: Any, **options: Any) -> Document:
    settings = {"eval_size": study.size, "replicates": 100, **NAMES, **options}
    return summarize(study.cases, study.scores, settings.pop("maps", study.maps), **settings)


@pytest.fixture(scope="module")
def document(study: Any) -> Document:
    return run(study)


def test_the_document_has_the_agreed_structure(document: Document) -> None:
    assert list(document) == ["schema", "bundle", "model_digest", "data_digest", "cohorts"]
    assert document["schema"] == "vitad_med/metrics/2"
    assert list(document["cohorts"]) == ["all", "sex=M", "sex=F", "view=PA", "view=AP"]
    for cohort in document["cohorts"].values():
        assert list(cohort) == [
            "n_images",
            "n_patients",
            "n_abnormal",
            "n_localized",
            "metrics",
            "nulls",
            "differences",
        ]
        assert tuple(cohort["metrics"]) == METRICS
        assert tuple(cohort["nulls"]) == MAPS
        for value in cohort["metrics"].values():
            assert list(value) == ["value", "low", "high", "n", "reason"]
        for figures in cohort["nulls"].values():
            assert tuple(figures) == LOCALIZATION_METRICS


def test_differences_are_paired_and_narrower_than_two_intervals_side_by_side(study: Any, document: Document) -> None:
    cohort = document["cohorts"]["all"]
    assert sorted(cohort["differences"]) == sorted(
        name + end for name in MAPS if name != "box_prior" for end in ("", " inverted")
    )
    own = cohort["metrics"]["conditioned_auroc"]
    for name in ("brightness", "mirror_difference"):
        null = cohort["nulls"][name]["conditioned_auroc"]
        assert own["value"] is not None
        assert null is not None
        assert cohort["differences"][name]["value"] == pytest.approx(own["value"] - null, abs=2e-6)
        inverted = cohort["differences"][f"{name} inverted"]["value"]
        assert inverted == pytest.approx(own["value"] - (1 - null), abs=2e-6)
    # A map that scores exactly one half in every replicate adds no spread of its own.
    blob = cohort["differences"]["centre_blob"]
    own_width, width = (figure["high"] - figure["low"] for figure in (own, blob))  # type: ignore[operator]
    assert width == pytest.approx(own_width, rel=0.15)


def test_a_method_that_is_a_null_map_differs_from_it_by_exactly_nothing(study: Any) -> None:
    images = np.random.default_rng(5).random((len(study.localized), study.size, study.size), dtype=np.float32)
    cohort = run(study, maps=images, images=images)["cohorts"]["all"]
    assert cohort["differences"]["brightness"] | {"n": 0} == {
        "value": 0.0,
        "low": 0.0,
        "high": 0.0,
        "n": 0,
        "reason": None,
    }


def test_counts_of_cohorts(study: Any, document: Document) -> None:
    for key, sex in (("sex=M", "M"), ("sex=F", "F")):
        inside = [case for case in study.cases if case.sex == sex]
        cohort = document["cohorts"][key]
        assert cohort["n_images"] == len(inside)
        assert cohort["n_patients"] == len({case.patient_id for case in inside})
        assert cohort["n_abnormal"] == cohort["n_localized"] == sum(case.label for case in inside)


def test_values_equal_scikit_learn(study: Any, document: Document) -> None:
    for key, sex in (("all", "MF"), ("sex=F", "F")):
        metrics = document["cohorts"][key]["metrics"]
        inside = np.array([case.sex in sex for case in study.cases])
        labels, scores = study.labels[inside], study.scores[inside]
        assert metrics["image_auroc"]["value"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
        assert metrics["image_ap"]["value"] == pytest.approx(average_precision_score(labels, scores), abs=1e-6)
        chosen = np.array([case.sex in sex for case in study.localized])
        truth = truth_masks(study.localized, study.size)[chosen].ravel()
        pixels = study.maps[chosen].ravel()
        assert metrics["pixel_auroc"]["value"] == pytest.approx(roc_auc_score(truth, pixels), abs=1e-6)
        assert metrics["pixel_ap"]["value"] == pytest.approx(average_precision_score(truth, pixels), abs=1e-6)
        assert metrics["image_auroc"]["n"] == inside.sum()
        assert metrics["pixel_auroc"]["n"] == chosen.sum()


def test_intervals_hold_the_value_and_shrink_with_more_patients(document: Document) -> None:
    for name, value in document["cohorts"]["all"]["metrics"].items():
        assert value["reason"] is None, name
        assert value["low"] < value["value"] < value["high"], name
    widths = [
        metrics["pixel_auroc"]["high"] - metrics["pixel_auroc"]["low"]
        for metrics in (document["cohorts"][key]["metrics"] for key in ("all", "sex=M"))
    ]
    assert widths[0] < widths[1]


def test_the_same_input_gives_the_same_bytes_and_another_seed_other_intervals(study: Any, tmp_path: Path) -> None:
    write_metrics(tmp_path / "a.json", run(study))
    write_metrics(tmp_path / "b.json", run(study))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.json", "b.json"]
    write_metrics(tmp_path / "c.json", run(study, seed=1))
    assert (tmp_path / "a.json").read_bytes() != (tmp_path / "c.json").read_bytes()


def test_by_hand_two_boxed_images_of_two_by_two_pixels(tmp_path: Path) -> None:
    """Truth: left column, right column. Position (0,0): positive .9 against .8; (1,0): .1 against .4; and so on."""
    Image.fromarray(np.array([[0, 255], [128, 64]], dtype=np.uint8)).save(tmp_path / "x.png")
    cases = [
        Case("a", "p", tmp_path / "x.png", "table", "test", 1, boxes=(Box(0, 0, 0.5, 1),)),
        Case("b", "q", tmp_path / "x.png", "table", "test", 1, boxes=(Box(0.5, 0, 0.5, 1),)),
    ]
    maps = np.array([[[0.9, 0.2], [0.1, 0.3]], [[0.8, 0.5], [0.4, 0.3]]], dtype=np.float32)
    document = summarize(cases, np.zeros(2), maps, eval_size=2, replicates=5, min_patients=1, **NAMES)
    metrics = document["cohorts"]["all"]["metrics"]
    # Positives .9 .1 .5 .3 against negatives .2 .3 .8 .4: wins 4 + 0 + 3 + 1.5 of 16.
    assert metrics["pixel_auroc"]["value"] == pytest.approx(8.5 / 16)
    # Left column: .9 > .8 wins, .1 < .4 loses; right column: .5 > .2 wins, .3 = .3 half.
    assert metrics["position_auroc"]["value"] == pytest.approx(2.5 / 4)
    # Ranks a: 4 2 1 3, b: 4 3 2 1. Left: 4 = 4 half, 1 < 2 loses; right: 3 > 2 wins, 1 < 3 loses.
    assert metrics["conditioned_auroc"]["value"] == pytest.approx(1.5 / 4)
    # Highest pixel of a lies in its box, that of b does not.
    assert metrics["pointing_game"]["value"] == 0.5
    assert metrics["pixel_auroc"]["low"] is None
    assert metrics["image_auroc"] == {"value": None, "low": None, "high": None, "n": 2, "reason": "no normal images"}


def test_unknown_sex_is_a_cohort_of_its_own(study: Any) -> None:
    cases = [replace(case, sex="unknown") if case.sex == "F" else case for case in study.cases]
    document = summarize(cases, study.scores, study.maps, eval_size=study.size, replicates=50, by=[("sex",)], **NAMES)
    assert list(document["cohorts"]) == ["all", "sex=M", "sex=unknown"]
    known = run(study, by=[("sex",)])["cohorts"]["sex=F"]
    unknown = document["cohorts"]["sex=unknown"]
    assert unknown["n_images"] == known["n_images"]
    assert unknown["metrics"]["pixel_auroc"]["value"] == known["metrics"]["pixel_auroc"]["value"]


def test_without_any_metadata_the_metadata_null_gives_its_reason(study: Any) -> None:
    cases = [replace(case, sex="unknown", view="unknown", age=None) for case in study.cases]
    document = summarize(cases, study.scores, study.maps, eval_size=study.size, replicates=20, by=[], **NAMES)
    metrics = document["cohorts"]["all"]["metrics"]
    assert metrics["metadata_null_auroc"]["reason"] == "no age, sex or view is known"
    assert metrics["image_auroc_conditioned"]["reason"] == "neither view nor age is known"
    assert metrics["image_auroc"]["value"] is not None


def test_a_cohort_without_positives_names_its_reason(study: Any) -> None:
    cases = [replace(case, view="PA" if case.label else "AP") for case in study.cases]
    document = summarize(cases, study.scores, study.maps, eval_size=study.size, replicates=20, by=[("view",)], **NAMES)
    cohort = document["cohorts"]["view=AP"]
    assert (cohort["n_abnormal"], cohort["n_localized"]) == (0, 0)
    assert {cohort["metrics"][name]["reason"] for name in IMAGE_METRICS} == {"no abnormal images"}
    assert {cohort["metrics"][name]["reason"] for name in LOCALIZATION_METRICS} == {"no localized images"}
    assert all(figure is None for figures in cohort["nulls"].values() for figure in figures.values())
    all_pairs = document["cohorts"]["all"]["metrics"]["image_auroc_conditioned"]
    assert all_pairs["reason"] == "no view and age band holds normal and abnormal images"


def test_small_cells_have_no_interval_and_smaller_ones_no_figure(study: Any) -> None:
    document = run(study, by=[("age",)], min_patients=5)
    few = document["cohorts"]["age=65+"]
    assert 5 <= few["n_localized"] < 20
    assert few["metrics"]["pixel_auroc"]["value"] is not None
    assert few["metrics"]["pixel_auroc"]["low"] is None
    assert few["metrics"]["pixel_auroc"]["reason"] is None
    strict = run(study, by=[("age",)], min_patients=15)["cohorts"]["age=65+"]
    assert strict["metrics"]["pixel_auroc"]["value"] is None
    assert "patients with localized images, fewer than 15" in strict["metrics"]["pixel_auroc"]["reason"]
    assert strict["nulls"]["centre_blob"]["pixel_auroc"] is None


def test_constant_maps_score_one_half(study: Any) -> None:
    maps = np.broadcast_to(np.float32(0.3), study.maps.shape)
    document = summarize(study.cases, study.scores, maps, eval_size=study.size, replicates=20, by=[], **NAMES)
    metrics = document["cohorts"]["all"]["metrics"]
    for name in ("pixel_auroc", "position_auroc", "conditioned_auroc"):
        assert (metrics[name]["value"], metrics[name]["low"], metrics[name]["high"]) == (0.5, 0.5, 0.5)
    area = truth_masks(study.localized, study.size).mean()
    assert metrics["pointing_game"]["value"] == pytest.approx(area, abs=1e-6)
    assert metrics["pixel_ap"]["value"] == pytest.approx(area, abs=1e-6)


def test_a_perfect_map_scores_one(study: Any) -> None:
    maps = truth_masks(study.localized, study.size).astype(np.float32)
    document = summarize(study.cases, study.scores, maps, eval_size=study.size, replicates=20, by=[], **NAMES)
    metrics = document["cohorts"]["all"]["metrics"]
    assert [metrics[name]["value"] for name in LOCALIZATION_METRICS] == [1.0] * len(LOCALIZATION_METRICS)


def test_pixels_in_boxes_of_other_findings_are_left_out(study: Any) -> None:
    """A map that marks the other finding's box only is no false alarm for the finding asked about."""
    first = study.localized[0]
    other = Box(0.75, 0.75, 0.2, 0.2, "Nodule")
    cases = [replace(c, boxes=(*c.boxes, other)) if c.case_id == first.case_id else c for c in study.cases]
    mask = truth_masks([replace(first, boxes=(other,))], study.size)[0]
    figures = []
    for lift in (0.0, 100.0):
        maps = study.maps.copy()
        maps[0][mask] += lift
        document = summarize(cases, study.scores, maps, eval_size=study.size, replicates=20, by=[("finding",)], **NAMES)
        figures.append(document["cohorts"][f"finding={first.boxes[0].finding}"]["metrics"])
        assert document["cohorts"]["finding=Nodule"]["n_localized"] == 1
    for name in ("pixel_auroc", "pixel_ap", "position_auroc", "pointing_game"):
        assert figures[0][name]["value"] == figures[1][name]["value"], name


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused_by_name(study: Any, bad: float) -> None:
    scores = study.scores.copy()
    scores[3] = bad
    with pytest.raises(DataError, match=rf"1 of {len(scores)} scores .* {study.cases[3].case_id}"):
        summarize(study.cases, scores, study.maps, eval_size=study.size, **NAMES)


def test_maps_that_are_not_finite_are_refused_by_name(study: Any) -> None:
    maps = study.maps.copy()
    maps[2, 0, 0] = np.nan
    with pytest.raises(DataError, match=study.localized[2].case_id):
        summarize(study.cases, study.scores, maps, eval_size=study.size, **NAMES)


def test_shapes_that_do_not_fit_are_refused(study: Any) -> None:
    with pytest.raises(DataError, match="eval_size 224"):
        summarize(study.cases, study.scores, study.maps, **NAMES)
    with pytest.raises(DataError, match="one score to each case"):
        summarize(study.cases, study.scores[:-1], study.maps, eval_size=study.size, **NAMES)
    with pytest.raises(DataError, match="occurs 2 times"):
        summarize([*study.cases, study.cases[0]], study.scores, study.maps, eval_size=study.size, **NAMES)
    with pytest.raises(DataError, match="no case to evaluate"):
        summarize([], np.zeros(0), np.zeros((0, 4, 4)), eval_size=4, **NAMES)


def test_a_box_outside_the_image_is_refused_by_name(study: Any) -> None:
    cases = [replace(c, boxes=(Box(1.2, 0.1, 0.3, 0.3),)) if c.localized else c for c in study.cases]
    with pytest.raises(DataError, match="mark no pixel"):
        summarize(cases, study.scores, study.maps, eval_size=study.size, **NAMES)


def test_masks_without_patients_or_sex(tmp_path: Path) -> None:
    """Industrial data: mask files, every image its own unit."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(60):
        image, mask = tmp_path / f"{number}.png", tmp_path / f"{number}_mask.png"
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(image)
        truth = np.zeros((20, 20), dtype=np.uint8)
        truth[number % 10 : number % 10 + 5, 4:9] = 255
        Image.fromarray(truth).save(mask)
        bad = number >= 25
        known = {"findings": ("scratch",), "mask_path": mask} if bad else {}
        cases.append(Case(f"{number}", f"{number}", image, "mvtec", "test", int(bad), group="screw", **known))
    masks = truth_masks(cases[25:], 20)
    assert masks[0].sum() == 25
    maps = rng.random((35, 20, 20), dtype=np.float32) + masks
    document = summarize(
        cases, np.arange(60.0), maps, eval_size=20, replicates=50, by=[("group",), ("sex",), ("finding",)], **NAMES
    )
    assert list(document["cohorts"]) == ["all", "group=screw", "sex=unknown", "finding=scratch"]
    scratch = document["cohorts"]["finding=scratch"]
    assert scratch["metrics"] == document["cohorts"]["all"]["metrics"]
    assert scratch["metrics"]["pixel_auroc"]["value"] == 1.0
    assert scratch["metrics"]["image_auroc"]["high"] == 1.0
    # A perfect sample does not show a perfect method: the lower end is that of no failure among so many patients.
    assert 0.8 < (scratch["metrics"]["image_auroc"]["low"] or 0) < 0.9


def test_a_mask_thinner_than_the_grid_keeps_the_pixels_it_touches(tmp_path: Path) -> None:
    truth = np.zeros((100, 100), dtype=np.uint8)
    truth[41, 10:90] = 255
    Image.fromarray(truth).save(tmp_path / "mask.png")
    case = Case("a", "a", tmp_path / "a.png", "mvtec", "test", 1, mask_path=tmp_path / "mask.png")
    mask = truth_masks([case], 10)[0]
    assert np.flatnonzero(mask.any(axis=1)).tolist() == [4]
    assert mask.sum() == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("bundle"), "lacks the key 'bundle'"),
        (lambda d: d.update(schema="vitad_med/metrics/0"), "schema"),
        (lambda d: d["cohorts"].pop("all"), "'all'"),
        (lambda d: d["cohorts"].update({"view=AP,sex": d["cohorts"]["all"]}), "malformed"),
        (lambda d: d["cohorts"]["all"]["metrics"].pop("pixel_ap"), "lacks the key 'pixel_ap'"),
        (lambda d: d["cohorts"]["all"]["metrics"]["pixel_ap"].update(value=float("nan")), "pixel_ap.value"),
        (lambda d: d["cohorts"]["all"]["metrics"]["pixel_ap"].update(reason="small"), "because it has a reason"),
        (lambda d: d["cohorts"]["all"]["metrics"]["pixel_ap"].update(low=None), "both ends"),
        (lambda d: d["cohorts"]["all"]["nulls"]["brightness"].update(pixel_ap=1.5), "brightness.pixel_ap"),
        (lambda d: d["cohorts"]["all"].update(n_images=-1), "n_images"),
    ],
)
def test_a_document_that_breaks_the_schema_is_refused(
    study: Any, tmp_path: Path, change: Any, message: str, document: Document
) -> None:
    write_metrics(tmp_path / "metrics.json", document)
    broken: Any = read_document(tmp_path / "metrics.json")
    change(broken)
    with pytest.raises(DataError, match=message):
        check_document(broken)


def test_keys_beyond_the_schema_are_let_through(tmp_path: Path, document: Document) -> None:
    write_metrics(tmp_path / "metrics.json", document)
    extended: Any = read_document(tmp_path / "metrics.json")
    extended["cohorts"]["all"]["metrics"]["aupro"] = extended["cohorts"]["all"]["metrics"]["pixel_auroc"]
    assert check_document(extended)["cohorts"].keys() == document["cohorts"].keys()


def test_a_file_that_is_no_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_document(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"schema": ')
    with pytest.raises(DataError, match=r"cut\.json"):
        read_document(tmp_path / "cut.json")


def test_evaluations_of_the_same_images_share_the_null_maps_and_others_do_not(
    study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered is what would be computed, and it is not taken for anything else."""
    monkeypatch.setattr(null_figures, "_remembered", OrderedDict())
    builds: list[str] = []
    builders = null_figures.null_maps.builders

    def counted(*arguments: Any) -> Any:
        builds.append("built")
        return builders(*arguments)

    monkeypatch.setattr(null_figures.null_maps, "builders", counted)
    first = run(study)
    assert run(study) == first
    assert len(builds) == 1
    # Another method on the same images: its own differences to the same maps.
    other = run(study, maps=1 - study.maps)
    assert len(builds) == 1
    assert other["cohorts"]["all"]["nulls"] == first["cohorts"]["all"]["nulls"]
    assert other["cohorts"]["all"]["differences"] != first["cohorts"]["all"]["differences"]
    null_figures._remembered.clear()
    assert run(study, maps=1 - study.maps) == other
    for changed in ({"data_digest": "e"}, {"seed": 1}, {"replicates": 50}, {"by": (("sex",),)}, {"min_patients": 3}):
        before = len(builds)
        run(study, **changed)
        assert len(builds) == before + 1, changed
