"""DICOMweb against a real Orthanc: find, fetch, store, go on after an interruption."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from tests.pacs.conftest import QUICK, Certificate, Make, Orthanc, dataset_bytes, uid
from vitad_med.cli import main
from vitad_med.errors import ArchiveError, ConfigError
from vitad_med.pacs.address import WebAddress
from vitad_med.pacs.credentials import WEB, web_credentials
from vitad_med.pacs.dicomweb import DicomWeb
from vitad_med.pacs.fetch import Query, fetch
from vitad_med.pacs.ledger import Ledger
from vitad_med.pacs.objects import find_objects
from vitad_med.pacs.retry import Backoff
from vitad_med.pacs.send import send
from vitad_med.site.key import SiteKey
from vitad_med.site.linkage import look_up

pytestmark = pytest.mark.slow


def archive_of(orthanc: Orthanc) -> DicomWeb:
    return DicomWeb(WebAddress(orthanc.web), web_credentials(), QUICK)


@pytest.mark.usefixtures("signed_in")
def test_fetch_takes_radiographs_by_date_once_and_byte_for_byte(
    orthanc: Orthanc, make: Make, key: SiteKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    january = make(*range(1, 8), StudyDate="20260110")
    orthanc.upload(*january, *make(20, folder="february", StudyDate="20260210"))
    orthanc.upload(*make(21, folder="ct", StudyDate="20260111", Modality="CT"))
    compressed = pydicom.dcmread(january[0])
    compressed.compress(JPEG2000Lossless)
    compressed.SOPInstanceUID = compressed.file_meta.MediaStorageSOPInstanceUID = "2.25.99"
    compressed.save_as(tmp_path / "j2k.dcm")
    orthanc.upload(tmp_path / "j2k.dcm")

    words = ["fetch", orthanc.web, "--out", str(tmp_path / "out"), "--date", "20260101-20260131", "--modality", "DX"]
    assert main(words) == 0
    assert "7 studies: 8 images fetched, 0 were there, 0 could not" in capsys.readouterr().out
    for path in (*january, tmp_path / "j2k.dcm"):
        fetched = tmp_path / "out" / f"{key.name('image', uid(path))}.dcm"
        assert dataset_bytes(fetched) == dataset_bytes(path)
    kept = tmp_path / "out" / f"{key.name('image', '2.25.99')}.dcm"
    assert pydicom.dcmread(kept).file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".dcm"] * 8
    assert look_up(kept.stem)[0].identifier == "2.25.99"

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    kept.write_bytes(kept.read_bytes()[:5000])  # as if the disk had lost its end
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "1 images fetched, 7 were there" in printed.out
    assert {path: path.stat().st_mtime_ns for path in before if path != kept} == {
        path: time for path, time in before.items() if path != kept
    }
    assert dataset_bytes(kept) == dataset_bytes(tmp_path / "j2k.dcm")
    assert "CANARY" not in printed.out + printed.err


@pytest.mark.usefixtures("signed_in")
def test_one_study_of_several_and_a_filter(orthanc: Orthanc, make: Make, key: SiteKey, tmp_path: Path) -> None:
    orthanc.upload(*make(1, 2, study="2.25.501"), *make(3, study="2.25.502", StationName="ROOM1"))
    found = fetch(archive_of(orthanc), Query(studies=("2.25.501",)), tmp_path / "a", key)
    assert (found.studies, found.fetched) == (1, 2)
    found = fetch(archive_of(orthanc), Query(filters=(("StudyInstanceUID", "2.25.502"),)), tmp_path / "b", key)
    assert [path.stem for path in (tmp_path / "b").iterdir()] == [key.name("image", uid(tmp_path / "dx" / "3.dcm"))]
    assert fetch(archive_of(orthanc), Query(date="19000101"), tmp_path / "c", key).studies == 0
    found = fetch(archive_of(orthanc), Query(studies=("2.25.599", "2.25.502")), tmp_path / "d", key)
    assert found.problems == [(key.name("study", "2.25.599"), "the archive has no such study")]
    assert (found.studies, found.fetched) == (1, 1)


@pytest.mark.usefixtures("signed_in")
def test_filters_with_wildcards(orthanc: Orthanc, make: Make, key: SiteKey, tmp_path: Path) -> None:
    """Orthanc 1.10 takes the text of a query as it stands there; a space in it cannot but be escaped."""
    orthanc.upload(*make(1, study="2.25.701", StudyDescription="THORAX IN BED"), *make(2, study="2.25.702"))
    for number, pattern in enumerate(("THORAX*", "*BED", "THORAX?IN?BED")):
        query = Query(filters=(("StudyDescription", pattern),))
        assert fetch(archive_of(orthanc), query, tmp_path / str(number), key).studies == 1, pattern


@pytest.mark.usefixtures("signed_in")
def test_more_instances_than_a_page(
    orthanc: Orthanc, make: Make, key: SiteKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc.upload(*make(*range(1, 12), study="2.25.600", SeriesInstanceUID="2.25.601"))
    monkeypatch.setattr("vitad_med.pacs.dicomweb.PAGE", 4)
    assert fetch(archive_of(orthanc), Query(studies=("2.25.600",)), tmp_path / "out", key).fetched == 11


@pytest.mark.usefixtures("signed_in")
def test_stow_stores_the_files_bytes_and_a_second_run_nothing(
    orthanc: Orthanc, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = make(1, 2, 3, folder="out")
    (tmp_path / "out" / "notes.txt").write_text("no DICOM file")
    words = ["send", str(tmp_path / "out"), "--to", orthanc.web]
    assert main(words) == 0
    assert "3 objects sent, 0 were there, 0 refused, 0 left; 1 files are no DICOM" in capsys.readouterr().out
    assert orthanc.instances() == {uid(path) for path in paths}
    for path in paths:
        assert dataset_bytes(orthanc.file(uid(path), tmp_path / "back.dcm")) == dataset_bytes(path)
    assert main(words) == 0
    assert "0 objects sent, 3 were there" in capsys.readouterr().out
    make(4, folder="out")
    assert main(words) == 0
    assert "1 objects sent, 3 were there" in capsys.readouterr().out
    ledger = (tmp_path / "out" / "sent.jsonl").read_text()
    assert not any(uid(path) in ledger for path in paths)
    assert "canary-password" not in ledger


FILTER = "function ReceivedInstanceFilter(dicom, origin)\n  return dicom.PatientID ~= 'CANARY2'\nend\n"
"""Orthanc throws away what this refuses, and answers that it stored it."""


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("way", ["stow", "c_store"])
def test_one_object_that_is_refused_stops_no_other(
    way: str,
    start_orthanc: Callable[..., Orthanc],
    make: Make,
    key: SiteKey,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = make(1, 2, 3, 4)
    if way == "stow":
        (tmp_path / "filter.lua").write_text(FILTER)
        orthanc = start_orthanc(LuaScripts=[str(tmp_path / "filter.lua")])
        to, why = orthanc.web, "does not list it"
    else:
        compressed = pydicom.dcmread(paths[1])
        compressed.compress(RLELossless, generate_instance_uid=False)
        compressed.save_as(paths[1])
        orthanc = start_orthanc(AcceptedTransferSyntaxes=[ExplicitVRLittleEndian])
        to, why = f"dicom://ORTHANC@127.0.0.1:{orthanc.dicom}", f"in transfer syntax {RLELossless}"
    assert main(["send", str(tmp_path / "dx"), "--to", to]) == 1
    printed = capsys.readouterr()
    assert "3 objects sent, 0 were there, 1 refused" in printed.out
    assert f"refused: {key.name('image', uid(paths[1]))}: " in printed.err
    assert why in printed.err
    assert "CANARY" not in printed.out + printed.err
    assert orthanc.instances() == {uid(path) for path in paths if path != paths[1]}
    assert main(["send", str(tmp_path / "dx"), "--to", to]) == 1
    assert "0 objects sent, 3 were there, 1 refused" in capsys.readouterr().out


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("way", ["stow", "c_store"])
def test_an_archive_that_stops_in_the_middle_loses_nothing(
    way: str, orthanc: Orthanc, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = make(*range(1, 13))
    to = orthanc.web if way == "stow" else f"dicom://ORTHANC@127.0.0.1:{orthanc.dicom}"
    words = ["send", str(tmp_path / "dx"), "--to", to, "--attempts", "1"]
    record, taken = Ledger.record, []

    def stopping(self: Ledger, file: object, outcome: object) -> None:
        record(self, file, outcome)  # type: ignore[arg-type]
        taken.append(file)
        if len(taken) == 5:
            orthanc.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "record", stopping)
        assert main(words) == 2
    printed = capsys.readouterr()
    assert "does not answer" in printed.err
    assert "the same command goes on" in printed.err
    assert "CANARY" not in printed.err
    orthanc.start()
    assert len(orthanc.instances()) == 5
    assert main(words) == 0
    assert "7 objects sent, 5 were there" in capsys.readouterr().out
    assert orthanc.instances() == {uid(path) for path in paths}


@pytest.mark.usefixtures("signed_in")
def test_an_archive_that_comes_back_in_time_is_waited_for(orthanc: Orthanc, make: Make, key: SiteKey) -> None:
    (path,) = make(1)
    files, _ = find_objects(path.parent)
    orthanc.stop()
    starter = threading.Timer(1.0, orthanc.start)
    starter.start()
    patient = DicomWeb(WebAddress(orthanc.web), web_credentials(), Backoff(attempts=40, first=0.25, longest=0.5))
    with Ledger(path.parent / "sent.jsonl", "there", key) as ledger:
        assert send(files, patient, ledger).stored == 1
    starter.join()
    assert orthanc.instances() == {uid(path)}


def test_without_the_right_credentials_the_variables_are_named(
    orthanc: Orthanc, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(1)
    with pytest.raises(ConfigError, match=r"HTTP 401.*VITAD_MED_DICOMWEB_USER"):
        archive_of(orthanc).find_studies({})
    monkeypatch.setenv(WEB + "USER", "vitad")
    monkeypatch.setenv(WEB + "PASSWORD", "canary-wrong")
    with pytest.raises(ConfigError) as caught:
        archive_of(orthanc).find_studies({})
    assert "canary" not in str(caught.value)


@pytest.mark.usefixtures("signed_in")
def test_a_wrong_path_and_a_dead_port_are_said(orthanc: Orthanc, make: Make, tmp_path: Path) -> None:
    make(1)
    wrong = DicomWeb(WebAddress(orthanc.web + "/wrong"), web_credentials(), QUICK)
    with pytest.raises(ArchiveError, match="refuses the query"):
        wrong.find_studies({})
    orthanc.stop()
    with pytest.raises(ArchiveError, match=r"does not answer \(no connection\)"):
        archive_of(orthanc).find_studies({})


@pytest.mark.usefixtures("signed_in")
def test_tls_is_verified_against_the_named_authority(
    orthanc: Orthanc,
    certificate: Certificate,
    make: Make,
    key: SiteKey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Debian's Orthanc 1.10.1 crashes with SslEnabled: TLS ends before it, as with a hospital's reverse proxy.
    orthanc.upload(*make(1, study="2.25.700"))
    with tls_relay(certificate, orthanc.http) as port:
        url = f"https://127.0.0.1:{port}/dicom-web"
        assert main(["fetch", url, "--out", str(tmp_path / "out"), "--study", "2.25.700"]) == 2
        assert WEB + "CA" in capsys.readouterr().err
        monkeypatch.setenv(WEB + "CA", str(certificate.cert))
        assert main(["fetch", url, "--out", str(tmp_path / "out"), "--study", "2.25.700"]) == 0
        assert main(["send", str(tmp_path / "dx"), "--to", url]) == 0
    assert (tmp_path / "out" / f"{key.name('image', uid(tmp_path / 'dx' / '1.dcm'))}.dcm").is_file()


@contextmanager
def tls_relay(certificate: Certificate, target: int) -> Iterator[int]:
    """Ends TLS and hands everything on to a port of this machine; its own port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    server = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while True:
            try:
                plain, _ = server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):  # a caller that trusts another authority
                caller = context.wrap_socket(plain, server_side=True)
                behind = socket.create_connection(("127.0.0.1", target))
                for pair in ((caller, behind), (behind, caller)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
