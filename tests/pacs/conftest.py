"""Real radiographs to send, a site's key, a listener, and a real Orthanc where Debian's package is installed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import requests

from scripts.make_dx import make_dx
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import read_image
from vitad_med.pacs.credentials import DIMSE, WEB
from vitad_med.pacs.retry import Backoff
from vitad_med.site.folder import VARIABLE
from vitad_med.site.key import SiteKey, new_key

QUICK = Backoff(attempts=3, first=0.05, longest=0.2)
USER, PASSWORD = "vitad", "canary-password"


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteKey:
    """The site's key and its linkage table in a folder of the test; no credentials from outside."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "config"))
    for name in ("USER", "PASSWORD", "TOKEN", "CA", "CERT", "KEY"):
        monkeypatch.delenv(WEB + name, raising=False)
        monkeypatch.delenv(DIMSE + name, raising=False)
    return new_key()


@pytest.fixture(scope="session")
def picture(nih_mini: Path) -> np.ndarray:
    """A real radiograph, [64, 64] in 0..1: small, for the network is tested here and not the pixels."""
    return read_image(read_chestxray14(nih_mini, section="test")[0].image_path)[0][::4, ::4]


Make = Callable[..., list[Path]]


@pytest.fixture
def make(picture: np.ndarray, tmp_path: Path) -> Make:
    """Write DX files: their numbers, the folder, and the study that all belong to (None: one each)."""

    def made(*numbers: int, folder: str = "dx", study: str | None = None, **tags: Any) -> list[Path]:
        (tmp_path / folder).mkdir(exist_ok=True)
        paths = []
        for number in numbers:
            dataset = make_dx(picture, str(number), patient=f"CANARY{number}")
            dataset.PatientName = "CANARY^NAME"
            if study is not None:
                dataset.StudyInstanceUID = study
            for keyword, value in tags.items():
                setattr(dataset, keyword, value)
            paths.append(tmp_path / folder / f"{number}.dcm")
            dataset.save_as(paths[-1], enforce_file_format=True)
        return paths

    return made


def uid(path: Path) -> str:
    """SOP Instance UID of a file."""
    return str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def dataset_bytes(path: Path) -> bytes:
    """A file without its preamble and file meta information."""
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(done: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Wait for something to become true; what it became."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = done()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"nothing after {seconds} s")


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate of this machine, signed by itself, and of its key."""

    cert: Path
    key: Path


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """Made with openssl."""
    made = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(made.key), "-out", str(made.cert)),
        ],
        check=True,
        capture_output=True,
    )
    return made


class Orthanc:
    """A real archive in a folder of the test.

    Attributes:
        http, dicom: its ports, which stay when it is started again.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.http, self.dicom = free_port(), free_port()
        folder.mkdir()
        self.settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [
                "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
                "/usr/share/orthanc/plugins/libOrthancGdcm.so",
            ],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomAlwaysAllowStore": True,
            "StableAge": 1,
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def web(self) -> str:
        """Root of DICOMweb."""
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def start(self) -> None:
        """Start and wait until it answers."""
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(self.settings))
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(["Orthanc", str(path)], stdout=log, stderr=log, cwd=self.folder)
        try:
            until(self._answers, 30)
        except AssertionError:
            raise AssertionError((self.folder / "log").read_text()[-2000:]) from None

    def stop(self) -> None:
        """Stop, keeping what it stores; it would wait for open associations for half a minute."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None

    def get(self, path: str) -> Any:
        """Its own REST interface."""
        return self._request("get", path).json()

    def post(self, path: str, content: Any) -> Any:
        """Its own REST interface."""
        answer = self._request("post", path, json=content)
        answer.raise_for_status()
        return answer.json()

    def upload(self, *paths: Path) -> list[str]:
        """Store files by its own interface; its numbers of the instances."""
        return [self._request("post", "instances", data=path.read_bytes()).json()["ID"] for path in paths]

    def instances(self) -> set[str]:
        """SOP Instance UIDs of all that it stores."""
        return {entry["MainDicomTags"]["SOPInstanceUID"] for entry in self.get("instances?expand")}

    def file(self, instance: str, target: Path) -> Path:
        """What it stores under a UID, as a file."""
        target.write_bytes(self._request("get", f"instances/{self._number(instance)}/file").content)
        return target

    def preview(self, instance: str) -> bytes:
        """A PNG of what it stores under a UID, decoded by the archive."""
        return self._request("get", f"instances/{self._number(instance)}/preview").content

    def _number(self, instance: str) -> str:
        (found,) = [
            entry["ID"]
            for entry in self.get("instances?expand")
            if entry["MainDicomTags"]["SOPInstanceUID"] == instance
        ]
        return str(found)

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(
            method,
            f"http://127.0.0.1:{self.http}/{path}",
            auth=(USER, PASSWORD),
            timeout=30,
            **options,
        )

    def _answers(self) -> bool:
        try:
            return self._request("get", "system").ok
        except requests.ConnectionError:
            return False


@pytest.fixture
def start_orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Start archives with settings of the test."""
    if shutil.which("Orthanc", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("Orthanc is absent: apt-get install --no-install-recommends orthanc orthanc-dicomweb orthanc-gdcm")
    started: list[Orthanc] = []

    def start(**settings: Any) -> Orthanc:
        started.append(Orthanc(tmp_path / f"orthanc{len(started)}", **settings))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def orthanc(start_orthanc: Callable[..., Orthanc]) -> Orthanc:
    """One archive."""
    return start_orthanc()


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials that Orthanc wants, in the environment."""
    monkeypatch.setenv(WEB + "USER", USER)
    monkeypatch.setenv(WEB + "PASSWORD", PASSWORD)
