"""The block of report.json against counting by hand, small cells, and the run's two halves."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from vitad_med.calibration import Calibration, operating_point
from vitad_med.errors import ConfigError, DataError
from vitad_med.evaluation.cohorts import cohort_keys, select

Study = Callable[..., Any]


def run(study: Any, calibration: Calibration | None = None, **options: Any) -> Any:
    cases, scores, _ = study
    members = {key: select(cases, key) for key in cohort_keys(cases)}
    return operating_point(cases, scores, members, calibration=calibration, **options)


def test_every_figure_by_hand(study: Study) -> None:
    cases, scores, _ = made = study(200, 11, abnormal=80)
    block, p_values, flagged = run(made, rate=0.1, prevalence=0.05, seed=4)
    labels = np.array([case.label for case in cases])
    patients = np.array([case.patient_id for case in cases])
    served = np.isnan(p_values)

    # The halves: 100 patients each, all normal images of one half served.
    assert not labels[served].any()
    assert block["calibration"] == {"images": int(served.sum()), "patients": 100}
    assert not set(patients[served]) & set(patients[(labels == 0) & ~served])
    # One image of each of 100 patients: k = 10 of 101, the tenth greatest drawn score.
    limit = block["threshold"]
    assert np.isin(limit, scores[served])
    assert np.array_equal(flagged, scores > limit)
    assert np.array_equal(flagged[~served], p_values[~served] <= 0.1)
    assert block["lowest_rate"] == pytest.approx(1 / 101, abs=1e-6)
    assert block["bound"] == {
        "expected": pytest.approx(10 / 101, abs=1e-6),
        "upper": pytest.approx(beta.ppf(0.95, 10, 91), abs=1e-6),
        "confidence": 0.95,
    }
    for key in ("all", "sex=M", "view=AP"):
        inside = select(cases, key)
        figures = block["cohorts"][key]
        fpr = flagged[inside & (labels == 0) & ~served].mean()
        sensitivity = flagged[inside & (labels == 1)].mean()
        alarms = 0.05 * sensitivity + 0.95 * fpr
        assert figures["false_positive_rate"]["value"] == pytest.approx(fpr, abs=1e-6)
        assert figures["sensitivity"]["value"] == pytest.approx(sensitivity, abs=1e-6)
        assert figures["alarms_per_100"]["value"] == pytest.approx(100 * alarms, abs=1e-4)
        assert figures["ppv"]["value"] == pytest.approx(0.05 * sensitivity / alarms, abs=1e-6)
        assert figures["npv"]["value"] == pytest.approx(0.95 * (1 - fpr) / (1 - alarms), abs=1e-6)
        assert all(figure["low"] < figure["value"] < figure["high"] for figure in figures.values())
        assert figures["ppv"]["n"] == figures["false_positive_rate"]["n"] + figures["sensitivity"]["n"]
    assert block["check"]["false_positive_rate"] == block["cohorts"]["all"]["false_positive_rate"]
    assert block["check"]["patients"] == 100
    json.dumps(block, allow_nan=False)


def test_a_calibration_leaves_every_normal_image_to_measure(study: Study, calibration: Calibration) -> None:
    cases, scores, _ = made = study(60, 13, abnormal=30)
    block, p_values, flagged = run(made, calibration)
    labels = np.array([case.label for case in cases])
    assert block["source"] == "calibration"
    assert block["calibration_digest"] == calibration.digest
    assert block["threshold"] == calibration.threshold
    assert np.isfinite(p_values).all()
    figure = block["cohorts"]["all"]["false_positive_rate"]
    assert figure["n"] == (labels == 0).sum()
    assert figure["value"] == pytest.approx(np.mean(scores[labels == 0] > calibration.threshold), abs=1e-6)
    assert np.array_equal(flagged, scores > calibration.threshold)
    assert block["check"] == calibration.check
    other, _, _ = run(made, calibration, rate=0.2)
    assert other["threshold"] < calibration.threshold
    assert other["check"] is None


def test_a_rate_out_of_reach_gives_reasons_not_figures(study: Study) -> None:
    block, p_values, flagged = run(study(30, 14, abnormal=30), rate=0.05)
    assert block["threshold"] is None
    assert block["bound"] is None
    assert re.search(r"0\.05 needs at least 19 .*15 .*0\.0625", block["reason"])
    assert not flagged.any()
    assert np.nanmin(p_values) == 1 / 16
    for figures in block["cohorts"].values():
        assert all(figure["value"] is None and figure["reason"] == block["reason"] for figure in figures.values())


def test_runs_of_one_class_and_of_one_patient(study: Study, calibration: Calibration) -> None:
    block, _, _ = run(study(0, 15, abnormal=20))
    assert block["reason"] == "no normal image to set a threshold with"
    assert block["calibration"] == {"images": 0, "patients": 0}
    assert block["lowest_rate"] is None
    block, _, _ = run(study(60, 16))
    assert block["cohorts"]["all"]["false_positive_rate"]["value"] is not None
    assert block["cohorts"]["all"]["sensitivity"]["reason"] == "no abnormal images"
    assert block["cohorts"]["all"]["ppv"]["reason"] == "no abnormal images"
    block, _, _ = run(study(1, 17))
    assert re.search(r"at least 9 .*1 .*0\.5", block["reason"])
    block, _, _ = run(study(0, 18, abnormal=30), calibration)
    assert block["cohorts"]["all"]["sensitivity"]["value"] is not None
    assert "no normal images" in block["cohorts"]["all"]["false_positive_rate"]["reason"]


def test_small_cells_are_named_and_middle_ones_have_no_interval(study: Study, calibration: Calibration) -> None:
    cases, scores, intensities = study(60, 19, abnormal=12)
    first_women = {case.patient_id for case in cases if case.label}
    few = set(sorted(first_women)[:4])
    cases = [replace(case, sex="F" if case.patient_id in few or case.label == 0 else "M") for case in cases]
    block, _, _ = run((cases, scores, intensities), calibration)
    women = block["cohorts"]["sex=F"]
    assert women["sensitivity"]["reason"] == "not scored: 4 patients with abnormal images, fewer than 5"
    assert women["npv"]["reason"] == women["sensitivity"]["reason"]
    assert women["false_positive_rate"]["value"] is not None
    everyone = block["cohorts"]["all"]
    assert everyone["sensitivity"]["value"] is not None
    assert everyone["sensitivity"]["low"] is None
    assert everyone["ppv"]["low"] is None
    assert everyone["false_positive_rate"]["low"] is not None


def test_a_rate_of_zero_is_not_certain(study: Study, calibration: Calibration) -> None:
    cases, _, intensities = study(40, 20, abnormal=40)
    labels = np.array([case.label for case in cases])
    calm = np.where(labels == 0, calibration.scores[0], 99.0)
    figures = run((cases, calm, intensities), calibration)[0]["cohorts"]["all"]
    assert figures["false_positive_rate"] == {
        "value": 0.0,
        "low": 0.0,
        "high": pytest.approx(1 - 0.025 ** (1 / 40), abs=1e-6),  # Clopper-Pearson of 0 in 40
        "n": int((labels == 0).sum()),
        "reason": None,
    }
    assert figures["sensitivity"]["value"] == 1
    assert figures["sensitivity"]["low"] < 1
    assert figures["ppv"]["value"] == 1
    assert 0 < figures["ppv"]["low"] < 0.5
    nothing = run((cases, np.full(len(cases), calibration.scores[0]), intensities), calibration)[0]["cohorts"]["all"]
    assert nothing["ppv"] == {"value": None, "low": None, "high": None, "n": len(cases), "reason": "nothing is flagged"}
    assert nothing["npv"]["value"] == pytest.approx(0.95)


def test_ties_never_flag_more_than_promised(study: Study) -> None:
    cases, scores, _ = study(200, 21)
    block, _, flagged = run((cases, np.round(scores), {}), rate=0.1)
    assert np.mean(flagged) < 0.15
    constant, _, none = run((cases, np.zeros(len(cases)), {}), rate=0.1)
    assert constant["threshold"] == 0
    assert not none.any()
    assert block["threshold"] == round(block["threshold"])


def test_the_promise_holds_over_seeded_studies(study: Study) -> None:
    """The check half of a run is flagged at k / (n + 1) on average over 400 studies with repeated patients."""
    rates, exceeded = [], 0
    for seed in range(400):
        cases, scores, _ = study(58, 20_000 + seed)
        block, _, flagged = operating_point(cases, scores, {"all": np.ones(len(cases), bool)}, rate=0.1)
        assert block["calibration"]["patients"] == 29
        assert block["bound"]["expected"] == 0.1
        rates.append(block["check"]["false_positive_rate"]["value"])
        exceeded += flagged.any()
    # One study's rate has a standard deviation below .09, so the mean one below .0045.
    assert np.mean(rates) == pytest.approx(0.1, abs=0.018)
    assert exceeded > 300


def test_impossible_settings_are_refused(study: Study) -> None:
    made = study(30, 22)
    for options in ({"rate": 0.0}, {"rate": 1.0}, {"prevalence": 0.0}, {"prevalence": 5}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            run(made, **options)
    cases, scores, intensities = made
    with pytest.raises(DataError, match="NaN"):
        run((cases, scores * math.nan, intensities))
    with pytest.raises(DataError, match="do not belong"):
        operating_point(cases, scores[:-1], {})
