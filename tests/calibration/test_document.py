"""The file: whole, checked, without a patient's name, bound to what made the scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitad_med.calibration import Calibration, check_binding, read_calibration, write_calibration
from vitad_med.calibration.binding import required_digests
from vitad_med.errors import ConfigError, DataError


def test_what_is_written_is_read_and_written_again_byte_for_byte(calibration: Calibration, tmp_path: Path) -> None:
    write_calibration(tmp_path / "a.json", calibration)
    found = read_calibration(tmp_path / "a.json")
    write_calibration(tmp_path / "b.json", found)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert np.array_equal(found.scores, calibration.scores)  # to the last bit: ties decide p-values
    assert found.digest == calibration.digest
    assert (found.patients, found.created) == (70, "2026-11-25T13:00:00Z")


def test_the_digest_names_the_content(calibration: Calibration) -> None:
    assert replace(calibration, seed=4).digest != calibration.digest


def test_nothing_of_a_patient_but_numbers_is_kept(
    study: Callable[..., Any], calibrate: Callable[..., Calibration], tmp_path: Path
) -> None:
    cases, scores, intensities = study(60, 5)
    write_calibration(tmp_path / "c.json", calibrate(cases, scores, intensities))
    text = (tmp_path / "c.json").read_text()
    assert not [case for case in cases if case.case_id in text or case.patient_id in text]
    content = json.loads(text)
    for numbers in (content["scores"], *content["intensities"].values()):
        assert numbers == sorted(numbers)  # no order links a score to an intensity or a patient


def test_25000_patients_stay_small(
    study: Callable[..., Any], calibrate: Callable[..., Calibration], tmp_path: Path
) -> None:
    cases, scores, intensities = study(25_000, 2)
    found = calibrate(cases, scores, intensities, check_fraction=0.0)
    write_calibration(tmp_path / "c.json", found)
    assert (tmp_path / "c.json").stat().st_size < 1_000_000
    assert found.patients == 25_000
    for name, values in found.intensities.items():
        assert len(values) == 2000
        assert np.quantile(values, 0.9) == pytest.approx(np.quantile(intensities[name], 0.9), abs=0.005)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("schema", "vitad_med/calibration/0", "schema"),
        ("scores", [2.0, 1.0], "ascending"),
        ("scores", [], "at least one"),
        ("scores", ["1"], "numbers"),
        ("threshold", 0.12345, "one of the scores"),
        ("model_digest", "", "model_digest"),
        ("false_positive_rate", 1.5, "between 0 and 1"),
        ("images", 3, "images"),
        ("cohorts", {"all": 4}, "cohorts.all"),
        ("check", {"images": 3}, "check.patients"),
    ],
)
def test_an_edited_file_is_refused_by_key(
    calibration: Calibration, tmp_path: Path, key: str, value: Any, named: str
) -> None:
    path = tmp_path / "c.json"
    write_calibration(path, calibration)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(DataError, match=rf"c\.json.*{named}.*calibrate again"):
        read_calibration(path)


def test_a_missing_key_a_missing_file_and_half_a_file_are_sentences(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with pytest.raises(DataError, match="vitad-med calibrate FOLDER"):
        read_calibration(path)
    write_calibration(path, calibration)
    content = json.loads(path.read_text())
    del content["seed"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="'seed'"):
        read_calibration(path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match="no readable JSON"):
        read_calibration(path)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [("model_digest", "another model"), ("pipeline_digest", "settings"), ("backend_digest", "device or precision")],
)
def test_another_run_is_refused_with_both_digests(
    calibration: Calibration, digests: dict[str, str], name: str, meaning: str
) -> None:
    check_binding(calibration, digests)
    with pytest.raises(
        ConfigError, match=rf"{meaning}.*{name} is {digests[name][:12]} there and {'f' * 12} here.*again"
    ):
        check_binding(calibration, {**digests, name: "f" * 64})


def test_a_run_without_digests_is_refused(calibration: Calibration, digests: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="no backend_digest"):
        check_binding(calibration, {**digests, "backend_digest": None})
    with pytest.raises(ConfigError, match=r"run\.json has no model_digest"):
        required_digests({})
