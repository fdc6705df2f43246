"""C-STORE against a real Orthanc and dcmtk's storescu: both ways, and the whole way round."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import RLELossless

from tests.pacs.conftest import QUICK, Make, Orthanc, dataset_bytes, free_port, uid, until
from tests.pacs.listening import Copying, result_uid, running
from vitad_med.cli import main
from vitad_med.errors import ConfigError
from vitad_med.pacs.address import parse_address
from vitad_med.pacs.dimse import StoreUser
from vitad_med.pacs.listener import Listener, Settings
from vitad_med.pacs.objects import find_objects
from vitad_med.pacs.retry import Backoff
from vitad_med.pacs.scp import Peer, Port
from vitad_med.pacs.send import open_store
from vitad_med.site.key import SiteKey

pytestmark = pytest.mark.slow
STORESCU = Path("/usr/bin/storescu")  # dcmtk's; pynetdicom puts another of that name on the PATH

Serve = Callable[..., Listener]


@pytest.fixture
def serve(tmp_path: Path, key: SiteKey) -> Iterator[Serve]:
    """A listener that copies and sends to an address."""
    with running() as begin:

        def made(to: str, port: int = 0, allow: tuple[str, ...] = ()) -> Listener:
            return begin(
                Listener(
                    tmp_path / "listener",
                    Port(port, allow=tuple(Peer.parse(text) for text in allow)),
                    Copying(tmp_path / "hold"),
                    key,
                    Settings(study_timeout=0.5, sending=Backoff(3, 0.1, 0.5)),
                    open_store(parse_address(to), backoff=Backoff(attempts=1)),
                    to,
                )
            )

        yield made


def dicom(orthanc: Orthanc, title: str = "ORTHANC") -> str:
    return f"dicom://{title}@127.0.0.1:{orthanc.dicom}"


def test_c_store_sends_each_file_in_its_own_transfer_syntax(
    orthanc: Orthanc, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, other = make(1, 2)
    compressed = pydicom.dcmread(other)
    compressed.compress(RLELossless, generate_instance_uid=False)
    compressed.save_as(other)
    words = ["send", str(tmp_path / "dx"), "--to", dicom(orthanc)]
    assert main(words) == 0
    assert "2 objects sent" in capsys.readouterr().out
    for path in (plain, other):
        back = orthanc.file(uid(path), tmp_path / "back.dcm")
        assert dataset_bytes(back) == dataset_bytes(path)
        assert pydicom.dcmread(back).file_meta.TransferSyntaxUID == pydicom.dcmread(path).file_meta.TransferSyntaxUID
    assert main(words) == 0
    assert "0 objects sent, 2 were there" in capsys.readouterr().out


def test_an_archive_that_does_not_know_its_title_says_so(orthanc: Orthanc, make: Make) -> None:
    files, _ = find_objects(make(1)[0].parent)
    address = parse_address(dicom(orthanc, "SOMEBODY"))
    with pytest.raises(ConfigError, match="does not know the AE title SOMEBODY"):
        list(StoreUser(address, backoff=QUICK).store(files))  # type: ignore[arg-type]


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("way", ["stow", "c_store"])
def test_orthanc_sends_a_study_and_finds_the_results_in_it(
    way: str, start_orthanc: Callable[..., Orthanc], make: Make, serve: Serve
) -> None:
    port = free_port()
    orthanc = start_orthanc(DicomModalities={"vitad": ["VITADMED", "127.0.0.1", port]})
    paths = make(1, 2, study="2.25.800", PatientID="CANARY")
    numbers = orthanc.upload(*paths)
    serve(orthanc.web if way == "stow" else dicom(orthanc), port, allow=("ORTHANC@127.0.0.1",))
    orthanc.post("modalities/vitad/store", {"Resources": numbers, "Synchronous": True})
    until(lambda: len(orthanc.instances()) == 4, 30)
    assert orthanc.instances() == {uid(path) for path in paths} | {result_uid(uid(path)) for path in paths}
    (study,) = orthanc.get("studies?expand")
    assert study["MainDicomTags"]["StudyInstanceUID"] == "2.25.800"


@pytest.mark.usefixtures("signed_in")
def test_results_reach_an_orthanc_that_was_away(orthanc: Orthanc, make: Make, serve: Serve, tmp_path: Path) -> None:
    paths = make(1, 2, study="2.25.801")
    orthanc.stop()
    listener = serve(orthanc.web)
    if not STORESCU.exists():
        pytest.skip("dcmtk is absent: apt-get install --no-install-recommends dcmtk")
    command = [str(STORESCU), "-aet", "MODALITY", "-aec", "VITADMED", "127.0.0.1", str(listener.port)]
    subprocess.run([*command, *map(str, paths)], check=True, timeout=60)
    until(lambda: list((tmp_path / "listener").glob("studies/*/results/*/*.dcm")))
    orthanc.start()
    until(lambda: orthanc.instances() == {result_uid(uid(path)) for path in paths}, 30)


@pytest.mark.usefixtures("signed_in")
def test_storescu_is_rejected_when_it_is_not_on_the_list(orthanc: Orthanc, make: Make, serve: Serve) -> None:
    listener = serve(orthanc.web, allow=("MODALITY@127.0.0.1",))
    if not STORESCU.exists():
        pytest.skip("dcmtk is absent: apt-get install --no-install-recommends dcmtk")
    (path,) = make(1)
    command = [str(STORESCU), "-aec", "VITADMED", "-aet"]
    where = ["127.0.0.1", str(listener.port), str(path)]
    refused = subprocess.run([*command, "STRANGER", *where], capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stderr
    assert subprocess.run([*command, "MODALITY", *where], timeout=60).returncode == 0
