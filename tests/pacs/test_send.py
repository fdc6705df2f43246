"""Sending over the loopback: the ledger, and what a C-STORE SCP may answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.events import Event

from tests.pacs.conftest import QUICK, Make, free_port, uid
from vitad_med.cli import main
from vitad_med.data.dicom.codes import DX_FOR_PRESENTATION
from vitad_med.errors import ArchiveError, ConfigError, DataError
from vitad_med.pacs.address import DimseAddress
from vitad_med.pacs.dimse import StoreUser
from vitad_med.pacs.folders import only_one
from vitad_med.pacs.ledger import Ledger
from vitad_med.pacs.objects import Outcome, find_objects
from vitad_med.pacs.send import send
from vitad_med.site.key import SiteKey

Serve = Callable[..., StoreUser]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A C-STORE SCP that answers each object with the next status of a list, 0 at its end; the way to it."""
    servers: list[Any] = []

    def begin(
        *statuses: int, syntaxes: Any = ExplicitVRLittleEndian, title: str = "ARCHIVE", taken: Any = None
    ) -> StoreUser:
        answers = iter(statuses)

        def take(event: Event) -> int:
            status = next(answers, 0)
            if status == -1:
                event.assoc.abort()
            if taken is not None:
                taken.append(str(event.dataset.SOPInstanceUID))
            return status

        entity = AE(ae_title=title)
        entity.require_called_aet = True
        entity.add_supported_context(DX_FOR_PRESENTATION, syntaxes)
        port = free_port()
        servers.append(entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, take)]))
        return StoreUser(DimseAddress("ARCHIVE", "127.0.0.1", port), backoff=QUICK)

    yield begin
    for server in servers:
        server.shutdown()


def outcomes(store: StoreUser, folder: Path) -> list[Outcome]:
    return [outcome for _, outcome in store.store(find_objects(folder)[0])]


def test_success_and_warnings_are_stored(serve: Serve, make: Make) -> None:
    folder = make(1, 2, 3)[0].parent
    assert outcomes(serve(0, 0xB000, 0xB007), folder) == [
        Outcome(True),
        Outcome(True, "data elements coerced"),
        Outcome(True, "data set does not match its class"),
    ]


def test_a_failure_of_one_stops_no_other(serve: Serve, make: Make) -> None:
    folder = make(1, 2, 3)[0].parent
    found = outcomes(serve(0xA900, 0, 0xC001), folder)
    assert [outcome.stored for outcome in found] == [False, True, False]
    assert found[0].detail == "status A900: data set does not match its class"
    assert found[2].detail == "status C001: cannot understand"


def test_out_of_resources_is_tried_again(serve: Serve, make: Make) -> None:
    folder = make(1, 2)[0].parent
    assert outcomes(serve(0xA700, 0xA700), folder) == [Outcome(True), Outcome(True)]


def test_an_association_that_is_lost_is_opened_again(serve: Serve, make: Make) -> None:
    folder = make(1, 2, 3)[0].parent
    assert [outcome.stored for outcome in outcomes(serve(0, -1, 0), folder)] == [True, True, True]


def test_an_archive_that_has_no_room_is_left_after_three_objects(serve: Serve, make: Make, key: SiteKey) -> None:
    folder = make(1, 2, 3, 4, 5)[0].parent
    files, _ = find_objects(folder)
    with Ledger(folder / "sent.jsonl", "there", key) as ledger:
        result = send(files, serve(*[0xA700] * 100), ledger)
    assert (result.stored, len(result.refused), result.unsent) == (0, 3, 2)
    assert "3 times in a row (status A700: out of resources)" in str(result.stopped)


def test_nothing_is_transcoded_on_the_way(serve: Serve, make: Make) -> None:
    (found,) = outcomes(serve(syntaxes=ImplicitVRLittleEndian), make(1)[0].parent)
    assert not found.stored
    assert f"in transfer syntax {ExplicitVRLittleEndian}" in found.detail


def test_a_title_that_the_archive_does_not_know(serve: Serve, make: Make) -> None:
    with pytest.raises(ConfigError, match="does not know the AE title ARCHIVE"):
        outcomes(serve(title="OTHER"), make(1)[0].parent)


def test_nobody_there(make: Make) -> None:
    store = StoreUser(DimseAddress("ARCHIVE", "127.0.0.1", free_port()), backoff=QUICK)
    with pytest.raises(ArchiveError, match=r"does not answer \(no connection\); the same command goes on"):
        outcomes(store, make(1)[0].parent)


def test_only_what_is_missing_is_sent(serve: Serve, make: Make, key: SiteKey) -> None:
    taken: list[str] = []
    first, second = make(1, 2)
    store = serve(0, 0xA900, taken=taken)
    for expected in ((1, 0, 1), (1, 1, 0), (0, 2, 0)):
        with Ledger(first.parent / "sent.jsonl", "there", key) as ledger:
            result = send(find_objects(first.parent)[0], store, ledger)
        assert (result.stored, result.before, len(result.refused)) == expected
    assert taken == [uid(first), uid(second), uid(second)]
    make(1, PatientAge="050Y")  # the same UID, made anew
    with Ledger(first.parent / "sent.jsonl", "there", key) as ledger:
        assert send(find_objects(first.parent)[0], store, ledger).stored == 1
    with Ledger(first.parent / "sent.jsonl", "elsewhere", key) as ledger:
        assert send(find_objects(first.parent)[0], store, ledger).stored == 2


def test_a_line_is_on_disk_before_the_next_object_is_sent(
    serve: Serve, make: Make, key: SiteKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    class Taken(list[str]):
        def append(self, name: str) -> None:
            steps.append("taken")

    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("sent.jsonl"):
            steps.append("synced")
        real(descriptor)

    store, (files, _) = serve(taken=Taken()), find_objects(make(1, 2)[0].parent)
    with Ledger(tmp_path / "sent.jsonl", "there", key) as ledger:
        monkeypatch.setattr(os, "fsync", fsync)
        send(files, store, ledger)
    assert steps == ["taken", "synced"] * 2


def test_a_ledger_that_was_cut_off_is_read_and_goes_on(make: Make, key: SiteKey, tmp_path: Path) -> None:
    files, _ = find_objects(make(1, 2)[0].parent)
    path = tmp_path / "sent.jsonl"
    with Ledger(path, "there", key) as ledger:
        for file in files:
            ledger.record(file, Outcome(True))
    whole = path.read_bytes()
    assert whole.count(b"\n") == 2
    assert b"2.25." not in whole
    assert path.stat().st_mode & 0o077 == 0
    path.write_bytes(whole[:-20])
    with Ledger(path, "there", key) as ledger:
        assert [ledger.has(file) for file in files] == [True, False]
        ledger.record(files[1], Outcome(True))
    with Ledger(path, "there", key) as ledger:
        assert all(ledger.has(file) for file in files)


def test_the_folder_dicom_of_a_result_is_what_is_sent(make: Make, tmp_path: Path) -> None:
    make(1, folder="out")
    (tmp_path / "out" / "dicom").mkdir()
    (tmp_path / "out" / "1.dcm").rename(tmp_path / "out" / "dicom" / "1.dcm")
    (tmp_path / "out" / "worklist.csv").write_text("image\n")
    (tmp_path / "out" / "dicom" / "notes").write_text("text")
    files, others = find_objects(tmp_path / "out")
    assert [file.path.name for file in files] == ["1.dcm"]
    assert [path.name for path in others] == ["notes"]
    with pytest.raises(DataError, match="is no folder"):
        find_objects(tmp_path / "absent")


def test_two_runs_do_not_send_one_folder(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(1)[0].parent
    with only_one(folder / ".sent.jsonl.lock", "send"):
        assert main(["send", str(folder), "--to", "dicom://A@127.0.0.1:1", "--attempts", "1"]) == 2
    assert "another `vitad-med send` is at work" in capsys.readouterr().err
