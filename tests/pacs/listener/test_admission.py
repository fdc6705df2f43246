"""Who may send, what is taken, and what is answered when it is not."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE
from pynetdicom.association import Association

from tests.pacs.conftest import QUICK, Certificate, Make, dataset_bytes, uid, until
from tests.pacs.listener.modality import DX, STUDY, Start, associate, push, results
from tests.pacs.listening import Copying
from vitad_med.errors import ArchiveError, ConfigError
from vitad_med.pacs.address import DimseAddress
from vitad_med.pacs.credentials import DIMSE, server_tls
from vitad_med.pacs.dimse import StoreUser
from vitad_med.pacs.inbox import Inbox, Limits, Refused
from vitad_med.pacs.listener import Listener, Settings
from vitad_med.pacs.objects import read_file
from vitad_med.pacs.scp import Peer, Port
from vitad_med.site.key import SiteKey


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


def test_a_wrong_called_title_is_rejected_and_the_log_says_why(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    listener = start()
    with caplog.at_level("WARNING"):
        assert push(listener, *[]) == []
        assert "title" not in caplog.text
        assert reject_reason(associate(listener, called="SOMEBODY")) == (1, 1, 7)
    assert "it calls another AE title than VITADMED" in caplog.text
    assert "SOMEBODY" not in caplog.text


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
