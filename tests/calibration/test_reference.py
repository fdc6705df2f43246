"""Which images calibrate, which check, how many it takes, and whether the promised rate is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vitad_med.calibration import Calibration
from vitad_med.calibration.reference import split_patients
from vitad_med.errors import ConfigError, DataError

Study = Callable[..., Any]
Build = Callable[..., Calibration]


def test_patients_are_on_one_side_and_one_image_of_each_is_drawn(study: Study) -> None:
    cases, _, _ = study(50, 7)
    names, patients = [case.case_id for case in cases], [case.patient_id for case in cases]
    split = split_patients(names, patients, 0.3, 0)
    sides = [{patients[i] for i in part} for part in (split.calibration, split.check)]
    assert not sides[0] & sides[1]
    assert (len(sides[0]), len(sides[1])) == (35, 15)
    assert sorted(patients[i] for i in split.drawn) == sorted(sides[0])
    order = np.random.default_rng(0).permutation(len(cases))
    shuffled = split_patients([names[i] for i in order], [patients[i] for i in order], 0.3, 0)
    assert {names[order[i]] for i in shuffled.drawn} == {names[i] for i in split.drawn}
    other = split_patients(names, patients, 0.3, 1)
    assert {names[i] for i in other.drawn} != {names[i] for i in split.drawn}


def test_one_patient_alone_is_not_held_out() -> None:
    split = split_patients(["a", "b"], ["p", "p"], 0.3, 0)
    assert (len(split.drawn), len(split.check)) == (1, 0)


def test_too_few_patients_are_refused_with_what_they_could_reach(study: Study, calibrate: Build) -> None:
    with pytest.raises(ConfigError, match=r"at least 9 .* 7 .*0\.125.*3 more are held out"):
        calibrate(*study(10, 4), false_positive_rate=0.1)
    assert (
        calibrate(*study(10, 4), false_positive_rate=0.125).threshold
        == calibrate(*study(10, 4), false_positive_rate=0.125).scores.max()
    )
    assert calibrate(*study(10, 4), check_fraction=0.0).check is None


def test_abnormal_images_broken_scores_and_odd_settings_are_refused(study: Study, calibrate: Build) -> None:
    with pytest.raises(DataError, match="labelled abnormal"):
        calibrate(*study(30, 4, abnormal=2))
    cases, scores, intensities = study(30, 4)
    with pytest.raises(DataError, match=r"1 of \d+ values of 'score' are NaN"):
        calibrate(cases, np.where(np.arange(len(scores)) == 3, np.nan, scores), intensities)
    with pytest.raises(DataError, match="edge strength"):
        calibrate(cases, scores, {**intensities, "edge strength": scores[:3]})
    for options in ({"false_positive_rate": 0.0}, {"false_positive_rate": 10}, {"check_fraction": 1.0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            calibrate(cases, scores, intensities, **options)


def test_small_cells_of_a_site_are_not_told(study: Study, calibrate: Build) -> None:
    cases, scores, intensities = study(40, 6)
    cases = [replace(case, sex="F" if case.patient_id < "6_00003" else "M") for case in cases]
    counts = calibrate(cases, scores, intensities, check_fraction=0.0).cohorts
    assert counts["sex=F"] == {"images": None, "patients": None}
    assert counts["all"] == {"images": len(cases), "patients": 40}
    public = [replace(case, source="nih_chestxray14") for case in cases]
    assert calibrate(public, scores, intensities, check_fraction=0.0).cohorts["sex=F"]["patients"] == 3


def test_the_check_counts_every_image_of_the_held_out(study: Study, calibrate: Build) -> None:
    cases, scores, intensities = study(100, 8)
    found = calibrate(cases, scores, intensities, seed=2)
    held = split_patients([c.case_id for c in cases], [c.patient_id for c in cases], 0.3, 2).check
    assert found.check is not None
    figure = found.check["false_positive_rate"]
    assert (found.check["images"], found.check["patients"]) == (len(held), 30)
    assert figure["value"] == pytest.approx(np.mean(scores[held] > found.threshold), abs=1e-6)
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert found.images == len(cases) - len(held)
    tied = scores.copy()
    tied[held] = found.threshold  # at the threshold, not above it
    again = calibrate(cases, tied, intensities, seed=2)
    assert again.threshold == found.threshold
    assert again.check is not None
    assert again.check["false_positive_rate"]["value"] == 0


def test_repeated_patients_keep_the_promise(study: Study, calibrate: Build) -> None:
    """Images of a patient are alike, yet the flagged share of new patients averages k / (n + 1) over calibrations."""
    rates, above, new = [], 0, study(4000, 10_000)
    first = np.unique([case.patient_id for case in new[0]], return_index=True)[1]
    for seed in range(400):
        found = calibrate(*study(39, seed), check_fraction=0.0)
        rate = float(np.mean(new[1][first] > found.threshold))
        rates.append(rate)
        above += rate > 0.1845  # 95 % quantile of Beta(4, 36)
    # Standard deviation of Beta(4, 36) is .047: the mean of 400 lies within .0094 of .1 in all but 1 of 10,000 cases,
    # with .005 for the 4,000 new patients.
    assert np.mean(rates) == pytest.approx(0.1, abs=0.015)
    assert above / 400 < 0.09
