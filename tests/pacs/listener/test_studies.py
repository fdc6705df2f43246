"""When a study is scored, anew or not at all, and where one goes that cannot be."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from tests.pacs.conftest import Make, dataset_bytes, uid, until
from tests.pacs.listener.modality import STUDY, Start, push, results
from tests.pacs.listening import Copying
from vitad_med.errors import ConfigError
from vitad_med.pacs.folders import only_one
from vitad_med.pacs.listener import LOCK, Settings
from vitad_med.site.key import SiteKey
from vitad_med.site.linkage import look_up


def test_an_image_is_on_disk_under_a_hashed_name_when_it_is_acknowledged(
    start: Start, make: Make, key: SiteKey, tmp_path: Path, scorer: Copying
) -> None:
    scorer.hold.touch()
    (path,) = make(1, study=STUDY)
    assert push(start(), path) == [0]
    kept = (
        tmp_path / "listener" / "studies" / key.name("study", STUDY) / "images" / f"{key.name('image', uid(path))}.dcm"
    )
    assert dataset_bytes(kept) == dataset_bytes(path)
    assert pydicom.dcmread(kept).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert look_up(kept.stem)[0].identifier == uid(path)
    assert kept.parent.stat().st_mode & 0o077 == 0
    assert list((tmp_path / "listener" / "incoming").iterdir()) == []


def test_a_study_is_scored_once_when_it_is_quiet(start: Start, make: Make, tmp_path: Path, scorer: Copying) -> None:
    paths = make(1, 2, 3, study=STUDY)
    listener = start(Settings(study_timeout=1.0))
    assert push(listener, *paths[:2]) == [0, 0]
    time.sleep(0.7)
    assert push(listener, paths[2]) == [0]
    time.sleep(0.6)
    assert scorer.calls == []  # more than a second after the first, less after the last
    until(lambda: results(tmp_path / "listener"))
    time.sleep(0.3)
    assert [len(call) for call in scorer.calls] == [3]
    assert len(results(tmp_path / "listener")) == 3


def test_a_late_image_has_the_whole_study_scored_anew_with_the_same_bytes(
    start: Start, make: Make, tmp_path: Path, scorer: Copying
) -> None:
    first, late = make(1, 2, study=STUDY)
    listener = start()
    push(listener, first)
    before = until(lambda: results(tmp_path / "listener"))[0].read_bytes()
    time.sleep(1.1)  # the clock of the results shows seconds
    push(listener, late)
    until(lambda: len(results(tmp_path / "listener")) == 2)
    assert [len(call) for call in scorer.calls] == [1, 2]
    assert before in {path.read_bytes() for path in results(tmp_path / "listener")}
    until(lambda: len(list((tmp_path / "listener").glob("studies/*/results/*"))) == 1)


def test_an_image_that_comes_while_its_study_is_scored_is_not_lost(
    start: Start, make: Make, tmp_path: Path, scorer: Copying
) -> None:
    first, late = make(1, 2, study=STUDY)
    listener = start()
    scorer.hold.touch()
    push(listener, first)
    until(lambda: scorer.calls)
    assert push(listener, late) == [0]
    scorer.hold.unlink()
    until(lambda: len(results(tmp_path / "listener")) == 2)
    assert [len(call) for call in scorer.calls] == [1, 2]
    assert scorer.gave == [1, 2]  # what came meanwhile did not get into the first scoring


def test_an_image_sent_again_is_acknowledged_and_not_scored_again(
    start: Start, make: Make, tmp_path: Path, scorer: Copying
) -> None:
    (path,) = make(1, study=STUDY)
    listener = start()
    assert push(listener, path, path) == [0, 0]
    until(lambda: results(tmp_path / "listener"))
    assert push(listener, path) == [0]
    time.sleep(0.8)
    assert [len(call) for call in scorer.calls] == [1]


def test_another_image_under_the_same_uid_is_kept_behind_the_first(
    start: Start, make: Make, key: SiteKey, scorer: Copying
) -> None:
    (path,) = make(1, study=STUDY)
    (other,) = make(1, folder="other", study=STUDY, PatientAge="077Y")
    listener = start()
    assert push(listener, path, other, other) == [0, 0, 0]
    until(lambda: scorer.calls)
    name = key.name("image", uid(path))
    assert scorer.calls[0] == [f"{name}.dcm", f"{name}_2.dcm"]


def test_a_study_that_cannot_be_scored_goes_to_the_dead_letters_and_stops_no_other(
    start: Start, make: Make, key: SiteKey, tmp_path: Path, scorer: Copying, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "listener"
    (broken,), (good,) = make(1, study=STUDY, StationName="BROKEN"), make(2, study="2.25.2")
    caplog.set_level(logging.DEBUG)
    listener = start()
    push(listener, broken, good)
    dead = folder / "dead_letter" / key.name("study", STUDY)
    until(dead.is_dir)
    until(lambda: results(folder))
    reason = json.loads((dead / "reason.json").read_text())
    assert reason["what"] == "scoring failed"
    assert reason["attempts"] == 3
    assert reason["why"].startswith("ValueError at listening.py:")
    assert [path.stem for path in (dead / "images").iterdir()] == [key.name("image", uid(broken))]
    assert len(scorer.calls) == 4
    # A further image begins the study anew; a second dead letter does not write over the first.
    push(listener, *make(3, folder="late", study=STUDY, StationName="BROKEN"))
    until(dead.with_name(dead.name + ".2").is_dir)
    assert "CANARY" not in caplog.text
    assert uid(broken) not in caplog.text


def test_a_dead_letter_that_is_put_back_is_tried_again(start: Start, make: Make, key: SiteKey, tmp_path: Path) -> None:
    folder = tmp_path / "listener"
    listener = start()
    push(listener, *make(1, study=STUDY, StationName="BROKEN"))
    dead = folder / "dead_letter" / key.name("study", STUDY)
    until(dead.is_dir)
    listener.stop()
    until(lambda: _released(folder))
    image = next((dead / "images").iterdir())
    dataset = pydicom.dcmread(image)
    dataset.StationName = "MENDED"
    dataset.save_as(image)
    dead.rename(folder / "studies" / dead.name)
    start()
    until(lambda: results(folder))


def _released(folder: Path) -> bool:
    """Whether no listener works in a folder."""
    try:
        with only_one(folder / LOCK, "listen"):
            return True
    except ConfigError:
        return False
