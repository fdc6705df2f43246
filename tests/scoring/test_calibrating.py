"""A folder of DICOM files is calibrated by the run that it will judge, on the images that it will judge."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from scripts.make_dx import make_folder
from vitad_med.calibration import write_calibration
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.errors import ConfigError, DataError
from vitad_med.scoring.calibrating import calibrate_folder
from vitad_med.scoring.run import score_folder
from vitad_med.scoring.settings import ScoreSettings


def quiet(_: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def normals(nih_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen radiographs, two of them of children, one twice under two UIDs, and a text file."""
    folder = tmp_path_factory.mktemp("normals")
    cases = read_chestxray14(nih_mini, section="test")
    children = [case for case in cases if (case.age or 0) < 18][:2]
    adults = [case for case in cases if (case.age or 0) >= 18][:14]
    assert len(children) == 2
    make_folder([*children, *adults], folder)
    twin = pydicom.dcmread(next(path for path in sorted(folder.iterdir()) if path.stem == adults[0].image_path.stem))
    twin.SOPInstanceUID = twin.file_meta.MediaStorageSOPInstanceUID = "2.25.4711"
    twin.PatientID = "TWIN"
    (folder / "z").mkdir()
    twin.save_as(folder / "z" / "twin.dcm")
    (folder / "notes.txt").write_text("nothing\n")
    return folder


@pytest.fixture
def calibrating(settings: ScoreSettings, normals: Path, tmp_path: Path) -> ScoreSettings:
    return replace(settings, source=normals, out=tmp_path / "scratch", outputs=("worklist",))


def test_those_that_are_not_judged_have_no_part(calibrating: ScoreSettings, tmp_path: Path) -> None:
    calibration, remarks = calibrate_folder(calibrating, false_positive_rate=0.2, check_fraction=0, tell=quiet)
    scored = score_folder(replace(calibrating, out=tmp_path / "again"), tell=quiet)
    within = {row.score for row in scored.rows if row.score is not None and not row.outside}
    assert len(calibration.scores) == 14  # neither the children nor the twin
    assert set(calibration.scores.tolist()) == within
    told = " ".join(remark.text for remark in remarks)
    assert "1 of 18 files are set aside: 1 unreadable." in told
    assert "2 images are outside of what the bundle is meant for (age 2)" in told
    assert "1 image is left out: the same picture is there already." in told
    assert [name for remark in remarks for name in remark.images if "twin" in name] == ["z/twin.dcm"]


@pytest.mark.parametrize("window", ["first", "percentile"])
def test_it_holds_for_the_window_that_it_was_made_with(
    calibrating: ScoreSettings, tmp_path: Path, ward: Path, window: str
) -> None:
    chosen = replace(calibrating, window=window)
    calibration, _ = calibrate_folder(chosen, false_positive_rate=0.2, check_fraction=0, tell=quiet)
    write_calibration(tmp_path / "c.json", calibration)
    judging = replace(chosen, source=ward, out=tmp_path / "out", calibration=tmp_path / "c.json")
    judged = [row for row in score_folder(judging, tell=quiet).rows if row.score is not None and not row.outside]
    assert judged
    for row in judged:
        least = sum(score >= row.score for score in calibration.scores) + 1
        assert row.p_value == pytest.approx(least / 15, rel=1e-5)
        assert row.flagged == (row.score > calibration.threshold)
    other = {"first": "percentile", "percentile": "first"}[window]
    with pytest.raises(ConfigError, match="pipeline_digest"):
        score_folder(replace(judging, window=other, out=tmp_path / "other"), tell=quiet)


def test_a_folder_without_an_image_to_judge_says_what_it_holds(
    calibrating: ScoreSettings, normals: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    shutil.copy(normals / "notes.txt", folder)
    with pytest.raises(DataError, match=r"no radiograph of .* 1 of 1 files are set aside: 1 unreadable"):
        calibrate_folder(replace(calibrating, source=folder), tell=quiet)


def test_pictures_are_left_out_and_told(calibrating: ScoreSettings, nih_mini: Path) -> None:
    with pytest.raises(DataError, match=r"112 files are pictures .* --data image_folder"):
        calibrate_folder(replace(calibrating, source=nih_mini), false_positive_rate=0.2, check_fraction=0, tell=quiet)


def test_only_held_out_patients(calibrating: ScoreSettings) -> None:
    asked = {"false_positive_rate": 0.5, "check_fraction": 0.0, "tell": quiet}
    part = replace(calibrating, overrides={"val_fraction": 0.4})
    calibration, _ = calibrate_folder(part, held_out=True, **asked)  # type: ignore[arg-type]
    assert 1 < len(calibration.scores) < 12
