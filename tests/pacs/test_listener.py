"""The listener over the loopback: who may send, what is answered, when a study is scored, what a crash leaves."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from tests.pacs.conftest import QUICK, Certificate, Make, dataset_bytes, free_port, uid, until
from tests.pacs.listening import Copying, result_uid
from vitad_med.errors import ArchiveError, ConfigError
from vitad_med.pacs.address import DimseAddress
from vitad_med.pacs.credentials import DIMSE, server_tls
from vitad_med.pacs.dimse import StoreUser
from vitad_med.pacs.folders import only_one
from vitad_med.pacs.inbox import Inbox, Limits, Refused
from vitad_med.pacs.listener import LOCK, Listener, Settings
from vitad_med.pacs.objects import read_file
from vitad_med.pacs.retry import Backoff
from vitad_med.pacs.scp import Peer, Port
from vitad_med.site.key import SiteKey
from vitad_med.site.linkage import look_up

VERIFICATION = "1.2.840.10008.1.1"
DX = DigitalXRayImageStorageForPresentation
FAST = Settings(study_timeout=0.3, scoring=Backoff(3, 0.05, 0.1), sending=Backoff(3, 0.05, 0.1))
STUDY = "2.25.4711"

Start = Callable[..., Listener]


@pytest.fixture
def scorer(tmp_path: Path) -> Copying:
    """Copies images, and waits while ``hold`` exists."""
    return Copying(tmp_path / "hold")


@pytest.fixture
def start(tmp_path: Path, key: SiteKey, scorer: Copying) -> Iterator[Start]:
    """Start listeners in threads of this process."""
    started: list[tuple[Listener, threading.Thread]] = []

    def begin(settings: Settings = FAST, store: Any = None, **port: Any) -> Listener:
        folder = port.pop("folder", tmp_path / "listener")
        listener = Listener(folder, Port(0, **port), scorer, key, settings, store, "there")
        thread = threading.Thread(target=listener.run)
        thread.start()
        started.append((listener, thread))
        assert listener.ready.wait(10)
        return listener

    yield begin
    scorer.hold.unlink(missing_ok=True)
    for listener, thread in started:
        listener.stop()
        thread.join(20)
        assert not thread.is_alive()


def associate(listener: Listener, title: str = "MODALITY", called: str = "VITADMED", **options: Any) -> Association:
    entity = AE(ae_title=title)
    entity.add_requested_context(DX, ExplicitVRLittleEndian)
    entity.add_requested_context(VERIFICATION)
    entity.acse_timeout = entity.dimse_timeout = 10
    return entity.associate("127.0.0.1", listener.port, ae_title=called, **options)


def push(listener: Listener, *paths: Path) -> list[int]:
    """Send files over one association; the status of each."""
    association = associate(listener)
    assert association.is_established
    statuses = [int(association.send_c_store(path).Status) for path in paths]
    association.release()
    return statuses


def results(folder: Path) -> list[Path]:
    """Results of studies that are scored to their end."""
    found = []
    for path in folder.glob("studies/*/study.json"):
        found += [path.parent / name for name in json.loads(path.read_text())["results"]]
    return sorted(found)


def state(folder: Path, key: SiteKey, study: str = STUDY) -> dict[str, Any]:
    path = folder / "studies" / key.name("study", study) / "study.json"
    return json.loads(path.read_text()) if path.is_file() else {}


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


def test_c_echo(start: Start) -> None:
    association = associate(start())
    assert association.send_c_echo().Status == 0
    association.release()


def reject_reason(association: Association) -> tuple[int, int, int]:
    assert association.is_rejected
    answer = association.acceptor.primitive
    assert answer is not None
    return answer.result, answer.result_source, answer.diagnostic  # type: ignore[return-value]


def test_only_those_on_the_list_may_send(start: Start, make: Make) -> None:
    listener = start(allow=(Peer.parse("MODALITY@127.0.0.1"), Peer.parse("FAR@10.1.2.3")))
    assert push(listener, *make(1)) == [0]
    assert reject_reason(associate(listener, "STRANGER")) == (1, 1, 3)
    # The right title from the wrong address.
    assert reject_reason(associate(listener, "FAR")) == (1, 1, 3)


def test_a_wrong_called_title_is_rejected(start: Start) -> None:
    assert reject_reason(associate(start(), called="SOMEBODY")) == (1, 1, 7)


def test_too_many_associations_are_rejected_for_now(start: Start) -> None:
    listener = start(associations=1)
    first = associate(listener)
    assert first.is_established
    assert reject_reason(associate(listener)) == (2, 3, 2)
    first.release()


def test_another_host_needs_a_list() -> None:
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0.*--allow AE@IP"):
        Port(11112, "0.0.0.0")
    Port(11112, "0.0.0.0", allow=(Peer.parse("M@10.0.0.1"),))


@pytest.mark.parametrize("text", ["MODALITY", "@10.0.0.1", "A@nowhere", "A\\B@10.0.0.1", "SEVENTEEN-LETTERS@10.0.0.1"])
def test_a_peer_is_a_title_and_an_address(text: str) -> None:
    with pytest.raises(ConfigError):
        Peer.parse(text)


def test_a_taken_port_is_said(start: Start, tmp_path: Path, scorer: Copying, key: SiteKey) -> None:
    listener = start()
    with pytest.raises(ConfigError, match=f"--port {listener.port} on 127.0.0.1 cannot be listened to"):
        Listener(tmp_path / "other", Port(listener.port), scorer, key).run()


def test_two_listeners_do_not_share_a_folder(start: Start, tmp_path: Path, scorer: Copying, key: SiteKey) -> None:
    start()
    with pytest.raises(ConfigError, match="another `vitad-med listen` is at work"):
        Listener(tmp_path / "listener", Port(0), scorer, key).run()


def test_over_its_limits_it_refuses_with_out_of_resources_and_recovers(
    start: Start, make: Make, tmp_path: Path, scorer: Copying
) -> None:
    paths = make(1, 2, 3, study=STUDY)
    scorer.hold.touch()
    listener = start(Settings(study_timeout=0.2, limits=Limits(waiting=2, free=0)))
    assert push(listener, *paths) == [0, 0, 0xA700]
    scorer.hold.unlink()
    until(lambda: len(results(tmp_path / "listener")) == 2)
    assert push(listener, paths[2]) == [0]


def test_a_disk_that_is_nearly_full_takes_nothing(start: Start, make: Make, tmp_path: Path) -> None:
    listener = start(Settings(limits=Limits(free=shutil.disk_usage(tmp_path).total)))
    assert push(listener, *make(1)) == [0xA700]
    assert list((tmp_path / "listener" / "studies").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_out_of_resources(
    key: SiteKey, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox(tmp_path / "inbox", key, Limits(free=0))
    (path,) = make(1)
    content = path.read_bytes()
    cut = len(content) - len(dataset_bytes(path))
    shutil.rmtree(tmp_path / "inbox" / "incoming")
    with pytest.raises(Refused) as caught:
        inbox.receive(content[cut:], content[:cut], uid(path))
    assert caught.value.status == 0xA700
    (tmp_path / "inbox" / "incoming").mkdir()
    assert inbox.receive(content[cut:], content[:cut], uid(path)) == key.name("image", uid(path))


def test_an_image_that_cannot_be_flushed_is_not_acknowledged(
    start: Start, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = start(Settings(study_timeout=30.0))
    (path,) = make(1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert push(listener, path) == [0xA700]
    monkeypatch.undo()
    assert [found for found in (tmp_path / "listener").rglob("*") if found.suffix in (".dcm", ".part")] == []
    assert push(listener, path) == [0]


def test_a_header_that_contradicts_the_command_or_cannot_be_read_is_refused(start: Start, make: Make) -> None:
    other, nameless = make(1, 2)
    dataset = pydicom.dcmread(other)
    dataset.SOPInstanceUID = "2.25.1"
    dataset.save_as(other)  # the file meta information keeps the former UID, and the command takes it from there
    dataset = pydicom.dcmread(nameless)
    del dataset.StudyInstanceUID
    dataset.save_as(nameless)
    assert push(start(), other, nameless) == [0xA900, 0xC000]


def test_an_image_beyond_measure_ends_the_association(start: Start, make: Make, tmp_path: Path) -> None:
    listener = start(largest=20_000)
    (small,) = make(1)
    assert push(listener, small) == [0]
    (large,) = make(2, PixelData=bytes(200_000), Rows=200, Columns=500)
    association = associate(listener)
    assert "Status" not in association.send_c_store(large)
    assert push(listener, small) == [0]


def test_other_storage_classes_are_not_negotiated(start: Start, make: Make) -> None:
    entity = AE()
    entity.add_requested_context(CTImageStorage)
    entity.add_requested_context(DX)
    association = entity.associate("127.0.0.1", start().port, ae_title="VITADMED")
    assert [context.abstract_syntax for context in association.accepted_contexts] == [DX]
    association.release()


def test_a_silent_connection_ends(start: Start) -> None:
    listener = start(idle=0.5)
    association = associate(listener)
    assert association.is_established
    until(lambda: not association.is_established, 10)


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


class Archive:
    """A C-STORE SCP that can be away, and that refuses what it is told to.

    Attributes:
        taken: SOP Instance UIDs, in their order.
        refuse: those that it refuses.
    """

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refuse: set[str] = set()
        self.port = free_port()
        self._server: Any = None

    @property
    def store(self) -> StoreUser:
        """The way to it, with one attempt, as the listener wants it."""
        return StoreUser(DimseAddress("ARCHIVE", "127.0.0.1", self.port), backoff=Backoff(attempts=1))

    def open(self) -> None:
        """Answer from now on."""
        entity = AE(ae_title="ARCHIVE")
        entity.add_supported_context(DX)
        self._server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._take)]
        )

    def close(self) -> None:
        """Answer no longer."""
        if self._server is not None:
            self._server.shutdown()

    def _take(self, event: Event) -> int:
        name = str(event.dataset.SOPInstanceUID)
        if name in self.refuse:
            return 0xA900
        self.taken.append(name)
        return 0


@pytest.fixture
def archive() -> Iterator[Archive]:
    """One that answers."""
    made = Archive()
    made.open()
    yield made
    made.close()


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


def test_our_own_sender_reaches_it_encrypted_and_others_do_not(
    start: Start, make: Make, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIMSE + "CERT", str(certificate.cert))
    monkeypatch.setenv(DIMSE + "KEY", str(certificate.key))
    monkeypatch.setenv(DIMSE + "CA", str(certificate.cert))
    listener = start(tls=server_tls())
    file = read_file(make(1)[0])
    assert file is not None
    sender = StoreUser(DimseAddress("VITADMED", "127.0.0.1", listener.port, tls=True), backoff=QUICK)
    assert [outcome.stored for _, outcome in sender.store([file])] == [True]
    with socket.create_connection(("127.0.0.1", listener.port)):  # says nothing, and holds nobody up for long
        assert [outcome.stored for _, outcome in sender.store([file])] == [True]
    monkeypatch.delenv(DIMSE + "CERT")
    monkeypatch.delenv(DIMSE + "KEY")
    stranger = StoreUser(DimseAddress("VITADMED", "127.0.0.1", listener.port, tls=True), backoff=QUICK)
    with pytest.raises(ArchiveError):
        list(stranger.store([file]))


def run_listener(tmp_path: Path, port: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.pacs.listening", str(tmp_path / "listener"), str(port), str(tmp_path / "hold")],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    def listens() -> bool:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(listens, 60)
    return process


class Elsewhere:
    """Where a listener of another process listens."""

    def __init__(self, port: int) -> None:
        self.port = port


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9_and_sigterm_finishes_the_study_in_hand(
    make: Make, tmp_path: Path, key: SiteKey
) -> None:
    folder, port = tmp_path / "listener", free_port()
    hold, calls = tmp_path / "hold", tmp_path / "hold.calls"
    hold.touch()
    process = run_listener(tmp_path, port)
    try:
        assert push(Elsewhere(port), *make(1, 2, study=STUDY)) == [0, 0]  # type: ignore[arg-type]
        until(calls.exists)  # it is being scored now
        assert push(Elsewhere(port), *make(3, study="2.25.2")) == [0]  # type: ignore[arg-type]
    finally:
        process.kill()
        process.wait()
    assert results(folder) == []
    process = run_listener(tmp_path, port)
    try:
        until(lambda: len(calls.read_text().split()) == 2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None  # it finishes the study in hand
        hold.unlink()
        assert process.wait(30) == 0
    finally:
        process.kill()
    finished = len(results(folder))
    assert finished in (1, 2)  # one study or the other
    process = run_listener(tmp_path, port)
    try:
        until(lambda: len(results(folder)) == 3)
        assert state(folder, key)["scored"]
        assert state(folder, key, "2.25.2")["scored"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert len(calls.read_text().split()) == 3  # each was scored to its end once
