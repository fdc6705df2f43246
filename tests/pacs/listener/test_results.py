"""Results on their way to an archive that is down, refuses, or has them already."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.pacs.conftest import Make, uid, until
from tests.pacs.listener.conftest import Archive
from tests.pacs.listener.modality import STUDY, Start, push, results, state
from tests.pacs.listening import result_uid
from vitad_med.pacs.listener import Settings
from vitad_med.site.key import SiteKey


def test_results_wait_for_an_archive_that_is_down(
    start: Start, make: Make, key: SiteKey, tmp_path: Path, archive: Archive
) -> None:
    archive.close()
    paths = [*make(1, study=STUDY), *make(2, study="2.25.2")]
    listener = start(store=archive.store)
    push(listener, *paths)
    until(lambda: len(results(tmp_path / "listener")) == 2)
    time.sleep(0.5)  # more pauses than attempts
    assert list((tmp_path / "listener" / "dead_letter").iterdir()) == []
    archive.open()
    until(lambda: len(archive.taken) == 2)
    until(lambda: state(tmp_path / "listener", key)["sent"])
    assert sorted(archive.taken) == sorted(result_uid(uid(path)) for path in paths)


def test_a_late_image_sends_only_the_new_results(start: Start, make: Make, archive: Archive) -> None:
    first, late = make(1, 2, study=STUDY)
    listener = start(store=archive.store)
    push(listener, first)
    until(lambda: archive.taken)
    push(listener, late)
    until(lambda: len(archive.taken) == 2)
    assert archive.taken == [result_uid(uid(first)), result_uid(uid(late))]


def test_results_that_the_archive_refuses_go_to_the_dead_letters(
    start: Start, make: Make, key: SiteKey, tmp_path: Path, archive: Archive
) -> None:
    paths = [*make(1, study=STUDY), *make(2, study="2.25.2")]
    archive.refuse = {result_uid(uid(paths[0]))}
    push(start(store=archive.store), *paths)
    dead = tmp_path / "listener" / "dead_letter" / key.name("study", STUDY)
    until(dead.is_dir)
    reason = json.loads((dead / "reason.json").read_text())
    (refused,) = reason["refused"]
    assert refused["image"] == key.name("image", result_uid(uid(paths[0])))
    assert refused["why"].startswith("status A900: ")
    until(lambda: archive.taken == [result_uid(uid(paths[1]))])


def test_a_finished_study_is_deleted_after_a_while(start: Start, make: Make, tmp_path: Path, archive: Archive) -> None:
    push(start(Settings(study_timeout=0.2, keep=1.0), store=archive.store), *make(1, study=STUDY))
    until(lambda: archive.taken)
    until(lambda: not list((tmp_path / "listener" / "studies").iterdir()))
