"""Figures of a whole report against other ways to compute them, and reports on awkward data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.reporting.studies import SIDE, StudyOnDisk, make_study
from vitad_med.errors import ConfigError
from vitad_med.reporting.analysis.build import Report, build_report
from vitad_med.reporting.analysis.settings import ReportSettings
from vitad_med.reporting.document.document import check_report

Settings = Callable[..., ReportSettings]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyOnDisk, Report]:
    study = make_study(tmp_path_factory.mktemp("study") / "run")
    by = (("sex",), ("view",), ("scanner",), ("sex", "view"), ("finding",))
    return study, build_report(study.read(), ReportSettings(by=by, replicates=200, permutations=199))


def rows_of(study: StudyOnDisk, **wanted: str) -> list[dict[str, Any]]:
    return [row for row in study.rows if all(row[axis] == value for axis, value in wanted.items())]


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("all", {}),
        ("sex=F", {"sex": "F"}),
        ("sex=M,view=AP", {"sex": "M", "view": "AP"}),
        ("scanner=B", {"scanner": "B"}),
    ],
)
def test_figures_of_a_cohort_equal_scikit_learn(
    built: tuple[StudyOnDisk, Report], key: str, wanted: dict[str, str]
) -> None:
    study, report = built
    cohort = report.document["cohorts"][key]
    rows = rows_of(study, **wanted)
    boxed = [row["image"] for row in rows if row["label"]]
    assert (cohort["n_images"], cohort["n_localized"]) == (len(rows), len(boxed))
    labels, scores = [row["label"] for row in rows], [row["score"] for row in rows]
    assert cohort["image"]["image_auroc"]["value"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert cohort["image"]["image_ap"]["value"] == pytest.approx(average_precision_score(labels, scores), abs=1e-6)
    truth = [study.truth(name) for name in boxed]
    maps = [study.maps[name].astype(np.float32) for name in boxed]
    figures = cohort["localization"]
    whole = np.concatenate([mask.ravel() for mask in truth]), np.concatenate([values.ravel() for values in maps])
    assert figures["pixel_auroc"]["value"] == pytest.approx(roc_auc_score(*whole), abs=1e-6)
    assert figures["pixel_ap"]["value"] == pytest.approx(average_precision_score(*whole), abs=1e-6)
    own = [roc_auc_score(mask.ravel(), values.ravel()) for mask, values in zip(truth, maps, strict=True)]
    assert figures["mean_image_auroc"]["value"] == pytest.approx(np.mean(own), abs=1e-6)
    hits = [mask.ravel()[values.argmax()] for mask, values in zip(truth, maps, strict=True)]
    assert figures["pointing_game"]["value"] == pytest.approx(np.mean(hits), abs=1e-6)


def test_overlap_uses_the_threshold_of_the_normal_images(built: tuple[StudyOnDisk, Report]) -> None:
    study, report = built
    normal = np.sort(
        np.concatenate([study.maps[row["image"]].astype(np.float32).ravel() for row in study.rows if not row["label"]])
    )
    threshold = next(value for value in normal if (normal >= value).mean() <= 0.05)
    overlaps = []
    for name in study.boxes:
        marked, truth = study.maps[name].astype(np.float32) >= threshold, study.truth(name)
        overlaps.append((marked & truth).sum() / (marked | truth).sum())
    figure = report.document["cohorts"]["all"]["localization"]["iou_fpr5"]
    assert figure["value"] == pytest.approx(np.mean(overlaps), abs=1e-6)


def test_the_document_is_valid_and_says_yes_where_maps_are_higher_in_boxes(built: tuple[StudyOnDisk, Report]) -> None:
    _, report = built
    check_report(report.document)
    cohort = report.document["cohorts"]["all"]
    assert cohort["nulls"]["centre_blob"]["conditioned_auroc"]["value"] == 0.5
    assert cohort["verdict"]["answer"] == "yes"
    difference = cohort["verdict"]["difference"]
    best = cohort["localization"]["conditioned_auroc"]["value"] - difference["value"]
    figures = [null["conditioned_auroc"]["value"] for null in cohort["nulls"].values()]
    known = [value for value in figures if value is not None]
    assert best == pytest.approx(max([*known, *(1 - value for value in known)]), abs=2e-6)


def test_the_figures_of_box_prior_beyond_the_pooled_are_refused(built: tuple[StudyOnDisk, Report]) -> None:
    prior = built[1].document["cohorts"]["all"]["nulls"]["box_prior"]
    assert prior["pixel_auroc"]["value"] > 0.5
    assert "not a valid null map" in prior["conditioned_auroc"]["reason"]


def test_curves_pass_through_the_figures_that_they_draw(built: tuple[StudyOnDisk, Report]) -> None:
    document = built[1].document
    roc = document["curves"]["roc"]["all"]
    area = np.trapezoid(roc["y"], roc["x"])
    assert area == pytest.approx(document["cohorts"]["all"]["image"]["image_auroc"]["value"], abs=0.02)
    assert all(low <= y <= high for low, y, high in zip(roc["low"], roc["y"], roc["high"], strict=True))
    froc = document["curves"]["froc"]["all"]
    at_one = froc["y"][froc["x"].index(1.0)]
    assert at_one == pytest.approx(document["cohorts"]["all"]["localization"]["froc_1"]["value"], abs=1e-6)


def test_the_delong_interval_agrees_with_the_bootstrap(built: tuple[StudyOnDisk, Report]) -> None:
    cohort = built[1].document["cohorts"]["all"]
    own, other = cohort["image"]["image_auroc"], cohort["delong"]
    assert other["value"] == own["value"]
    assert other["low"] == pytest.approx(own["low"], abs=0.02)
    assert other["high"] == pytest.approx(own["high"], abs=0.02)


def test_thirds_of_size_and_ninths_of_the_picture_hold_every_image_once(built: tuple[StudyOnDisk, Report]) -> None:
    study, report = built
    effects = report.document["effects"]
    for group in ("box_area", "position"):
        assert sum(each["images"] for each in effects[group]) == len(study.boxes)
    smallest = effects["box_area"][0]
    hits = []
    areas = {name: study.truth(name).mean() for name in study.boxes}
    limit = np.quantile(list(areas.values()), 1 / 3)
    for name, area in areas.items():
        if area < limit:
            hits.append(study.truth(name).ravel()[study.maps[name].astype(np.float32).argmax()])
    assert smallest["images"] == len(hits)
    assert smallest["pointing_game"]["value"] == pytest.approx(np.mean(hits), abs=1e-6)


def test_the_same_input_gives_the_same_document(study: StudyOnDisk, settings: Settings) -> None:
    first = build_report(study.read(), settings("sex"))
    assert build_report(study.read(), settings("sex")).document == first.document
    other = build_report(study.read(), settings("sex", seed=1)).document
    assert other["cohorts"]["all"]["image"] != first.document["cohorts"]["all"]["image"]


def test_maps_times_image_scores_change_pooled_figures_only_between_images(
    study: StudyOnDisk, settings: Settings
) -> None:
    for row in study.rows:
        row["score"] = abs(row["score"])
        study.maps[row["image"]] = study.maps[row["image"]] - study.maps[row["image"]].min()
    plain = build_report(study.read(), settings("sex")).document["cohorts"]["all"]["localization"]
    scaled = build_report(study.read(), settings("sex", pixel_score="map_times_image_score"))
    figures = scaled.document["cohorts"]["all"]["localization"]
    assert figures["conditioned_auroc"]["value"] == pytest.approx(plain["conditioned_auroc"]["value"], abs=1e-4)
    assert figures["pixel_auroc"]["value"] != plain["pixel_auroc"]["value"]


def test_unknown_sex_is_a_cohort_and_one_that_repeats_all_images_is_left_out(
    study: StudyOnDisk, settings: Settings
) -> None:
    for row in study.rows[:20]:
        row["sex"] = ""
    for row in study.rows:
        row["view"] = "unknown"
    cohorts = build_report(study.read(), settings("sex", "view")).document["cohorts"]
    assert list(cohorts) == ["all", "sex=M", "sex=F", "sex=unknown"]
    assert cohorts["sex=unknown"]["n_images"] == 20


def test_a_cohort_without_abnormal_images_says_so(study: StudyOnDisk, settings: Settings) -> None:
    for row in study.rows:
        row["view"] = "PA" if row["label"] else "AP"
    cohort = build_report(study.read(), settings("view")).document["cohorts"]["view=AP"]
    assert cohort["image"]["image_auroc"]["reason"] == "no abnormal images"
    assert cohort["localization"]["conditioned_auroc"]["reason"] == "no localized images"
    assert cohort["verdict"]["sentence"] == "cannot tell: no localized images"


def test_one_patient_only(study: StudyOnDisk, settings: Settings) -> None:
    for row in study.rows:
        row["patient"] = "one"
    report = build_report(study.read(), settings("sex"))
    check_report(report.document)
    cohort = report.document["cohorts"]["all"]
    assert cohort["image"]["image_auroc"]["reason"].startswith("not scored: fewer than 5 patients")
    assert cohort["verdict"]["answer"] == "cannot tell"


def test_constant_maps_know_nothing(study: StudyOnDisk, settings: Settings) -> None:
    study.maps = {name: np.zeros((SIDE, SIDE)) for name in study.maps}
    report = build_report(study.read(), settings("sex"))
    check_report(report.document)
    cohort = report.document["cohorts"]["all"]
    assert cohort["localization"]["conditioned_auroc"]["value"] == 0.5
    assert cohort["localization"]["iou_fpr5"]["value"] == 0
    assert cohort["verdict"]["answer"] != "yes"


def test_scores_alone_give_image_figures_and_no_localization(study: StudyOnDisk, settings: Settings) -> None:
    study.maps, study.boxes = {}, {}
    report = build_report(study.read(), settings("sex"))
    check_report(report.document)
    cohort = report.document["cohorts"]["all"]
    assert cohort["image"]["image_auroc"]["value"] > 0.5
    assert cohort["localization"]["conditioned_auroc"]["reason"] == "no localized images"
    assert report.document["effects"] == {"box_area": [], "position": []}


def test_without_normal_images_there_is_no_threshold(study: StudyOnDisk, settings: Settings) -> None:
    study.rows = [row for row in study.rows if row["label"]]
    report = build_report(study.read(), settings("sex"))
    check_report(report.document)
    figures = report.document["cohorts"]["all"]["localization"]
    assert figures["conditioned_auroc"]["value"] > 0.5
    assert "no normal images" in figures["froc_mean"]["reason"]
    assert report.document["operating_point"]["threshold"] is None


def test_excluded_images_are_counted_with_their_reason(study: StudyOnDisk, settings: Settings) -> None:
    for row in study.rows[0:30:5]:
        row["score"] = "nan"
    flow = build_report(study.read(drop_invalid=True), settings("sex")).document["flow"]
    assert flow["read"]["images"] == len(study.rows)
    assert flow["evaluated"]["images"] == len(study.rows) - 6
    assert [(each["images"], each["reason"]) for each in flow["excluded"]] == [(6, "score missing, NaN or infinite")]


def test_small_counts_are_not_told_of_data_that_are_not_public(study: StudyOnDisk, settings: Settings) -> None:
    for row in study.rows[:2]:
        row["scanner"] = "rare"
    cohorts = build_report(study.read(), settings("scanner")).document["cohorts"]
    rare = cohorts["scanner=rare"]
    assert rare["n_images"] is None
    figure = rare["image"]["image_auroc"]
    assert figure["reason"] in ("no abnormal images", "not scored: fewer than 5 patients with normal images")
    assert not re.search(r"\b[1-4] patient", json.dumps(rare))
    # The smallest other scanner is withheld too: the size of the rare one would follow from it.
    told = {key for key, cohort in cohorts.items() if cohort["n_images"] is not None}
    assert len(told & {"scanner=A", "scanner=B", "scanner=C"}) == 2
    (study.folder / "run.json").write_text('{"schema": "vitad_med/run/1", "public": true, "identifiers": "clear"}')
    cohorts = build_report(study.read(), settings("scanner")).document["cohorts"]
    assert cohorts["scanner=rare"]["n_images"] == 2


def test_an_axis_that_does_not_exist_is_answered_with_those_that_do(study: StudyOnDisk, settings: Settings) -> None:
    with pytest.raises(ConfigError, match="sex, view, age, finding, group, scanner"):
        build_report(study.read(), settings("scaner"))


@pytest.mark.parametrize(
    ("options", "word"),
    [({"prevalence": 0}, "prevalence"), ({"replicates": 9}, "replicates"), ({"pixel_score": "sum"}, "pixel_score")],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        ReportSettings(**options)


def test_images_that_served_the_calibration_have_no_p_value(built: tuple[StudyOnDisk, Report]) -> None:
    _, report = built
    point = report.document["operating_point"]
    assert np.isnan(report.p_values).sum() == point["calibration"]["images"]
    known = ~np.isnan(report.p_values)
    assert (report.flagged[known] == (report.p_values[known] <= point["false_positive_rate"])).all()


def test_a_folder_of_mask_data_gives_aupro(tmp_path: Path, settings: Settings) -> None:
    study = make_study(tmp_path / "run", effect=2.0)
    from PIL import Image

    (study.folder / "masks").mkdir(parents=True)
    for name in study.boxes:
        Image.fromarray(np.uint8(255) * study.truth(name)).save(study.folder / "masks" / f"{name}.png")
    study.boxes = {}
    figures = build_report(study.read(), settings("sex")).document["cohorts"]["all"]["localization"]
    assert 0.5 < figures["aupro"]["value"] <= 1
    assert figures["aupro"]["low"] < figures["aupro"]["value"] < figures["aupro"]["high"]
    assert figures["aupro_100"]["low"] is None
