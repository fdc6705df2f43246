"""DICOMweb services that misbehave, over the loopback; one that works is tested in test_orthanc_web."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.pacs.conftest import QUICK, Make, dataset_bytes, uid
from vitad_med.errors import ArchiveError, ConfigError
from vitad_med.pacs.address import WebAddress
from vitad_med.pacs.credentials import web_credentials
from vitad_med.pacs.dicomweb import DicomWeb
from vitad_med.pacs.fetch import Query, fetch
from vitad_med.site.key import SiteKey

STUDY, SERIES = "2.25.900", "2.25.901"
Answer = tuple[int, dict[str, str], bytes]


def rows(tag: str, *values: str) -> list[dict[str, object]]:
    return [{tag: {"vr": "UI", "Value": [value]}, "00080060": {"vr": "CS", "Value": ["DX"]}} for value in values]


class Service:
    """One study with one series of files.

    Attributes:
        answers: what the next requests for an instance get in place of the file; None is the file.
        asked: paths of all requests.
        headers: of the last one.
    """

    def __init__(self, *files: Path) -> None:
        self.files = {uid(path): path.read_bytes() for path in files}
        self.answers: list[Answer | None] = []
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        self.pages = True
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append(self.path)
                service.headers = dict(self.headers)
                status, headers, body = service.answer(self.path)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.archive = DicomWeb(WebAddress(f"http://127.0.0.1:{self.server.server_port}/web"), web_credentials(), QUICK)

    def answer(self, path: str) -> Answer:
        parts = urlsplit(path)
        offset = int(parse_qs(parts.query).get("offset", ["0"])[0]) if self.pages else 0
        last = parts.path.rpartition("/")[2]
        known = {"studies": ("0020000D", [STUDY]), "series": ("0020000E", [SERIES])}
        known["instances"] = ("00080018", list(self.files))
        if last in known:
            tag, values = known[last]
            return 200, {"Content-Type": "application/dicom+json"}, json.dumps(rows(tag, *values[offset:])).encode()
        given = self.answers.pop(0) if self.answers else None
        return given or multipart(self.files[last])


def multipart(content: bytes) -> Answer:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--\r\n"
    return 200, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}, body


@pytest.fixture
def serve(make: Make) -> Iterator[Callable[..., Service]]:
    """Services with files of these numbers."""
    made: list[Service] = []

    def begin(*numbers: int) -> Service:
        made.append(Service(*make(*numbers, study=STUDY, SeriesInstanceUID=SERIES)))
        return made[-1]

    yield begin
    for service in made:
        service.server.shutdown()
        service.server.server_close()


def test_busy_and_broken_answers_are_asked_for_again(
    serve: Callable[..., Service], key: SiteKey, tmp_path: Path
) -> None:
    service = serve(1, 2)
    whole = multipart(next(iter(service.files.values())))
    service.answers = [
        (503, {"Retry-After": "0"}, b""),
        (whole[0], whole[1], whole[2][:-300]),  # the message ends early, and says that this is its length
        None,
        (whole[0], {**whole[1], "Content-Length": str(len(whole[2]) + 50)}, whole[2]),  # the connection ends early
    ]
    found = fetch(service.archive, Query(studies=(STUDY,)), tmp_path / "out", key)
    assert (found.fetched, found.problems) == (2, [])
    for name, content in service.files.items():
        assert (tmp_path / "out" / f"{key.name('image', name)}.dcm").read_bytes() == content
    assert "transfer-syntax=*" in service.headers["Accept"]


def test_an_image_that_is_not_given_out_is_reported_and_the_others_fetched(
    serve: Callable[..., Service], key: SiteKey, tmp_path: Path
) -> None:
    service = serve(1, 2, 3)
    first, second, third = service.files
    failing = (500, {}, b"CANARY")
    service.answers = [(404, {}, b"CANARY"), *[failing] * QUICK.attempts]
    found = fetch(service.archive, Query(studies=(STUDY,)), tmp_path / "out", key)
    assert found.fetched == 1
    assert found.problems == [
        (key.name("image", first), "the archive does not give it out (HTTP 404)"),
        (key.name("image", second), "the archive fails on it (HTTP 500)"),
    ]
    assert [path.stem for path in (tmp_path / "out").iterdir()] == [key.name("image", third)]


def test_an_archive_that_fails_on_everything_is_left(
    serve: Callable[..., Service], key: SiteKey, tmp_path: Path
) -> None:
    service = serve(1, 2, 3, 4, 5)
    service.answers = [(503, {}, b"")] * 100
    with pytest.raises(ArchiveError, match="failed 3 times in a row"):
        fetch(service.archive, Query(studies=(STUDY,)), tmp_path / "out", key)
    assert list((tmp_path / "out").glob("*.dcm")) == []


def test_another_instance_or_half_of_one_is_not_taken(
    serve: Callable[..., Service], make: Make, key: SiteKey, tmp_path: Path
) -> None:
    service = serve(1, 2)
    (other,) = make(3, folder="other")
    half = list(service.files.values())[1][:-1000]
    service.answers = [multipart(other.read_bytes()), multipart(half)]
    found = fetch(service.archive, Query(studies=(STUDY,)), tmp_path / "out", key)
    assert [why for _, why in found.problems] == [
        "what the archive gives out is no whole DICOM file of this instance"
    ] * 2
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_without_a_multipart_message_is_taken(
    serve: Callable[..., Service], make: Make, key: SiteKey, tmp_path: Path
) -> None:
    service = serve(1)
    (content,) = service.files.values()
    service.answers = [(200, {"Content-Type": "application/dicom"}, content)]
    assert fetch(service.archive, Query(studies=(STUDY,)), tmp_path / "out", key).fetched == 1
    (kept,) = (tmp_path / "out").glob("*.dcm")
    assert dataset_bytes(kept) == dataset_bytes(tmp_path / "dx" / "1.dcm")


def test_a_service_that_ignores_pages_ends(serve: Callable[..., Service]) -> None:
    service = serve(1, 2, 3)
    service.pages = False
    assert len(service.archive.find_instances(STUDY, SERIES)) == 3
    assert len(service.asked) == 2


def test_a_redirection_is_not_followed_with_the_password(
    serve: Callable[..., Service], key: SiteKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITAD_MED_DICOMWEB_TOKEN", "canary")
    service, elsewhere = serve(1), serve(2)
    service.answers = [(302, {"Location": f"{elsewhere.archive.address}/studies"}, b"")]
    with pytest.raises(ConfigError, match="sends on to another address"):
        fetch(service.archive, Query(studies=(STUDY,)), tmp_path / "out", key)
    assert service.headers["Authorization"] == "Bearer canary"
    assert elsewhere.asked == []


def test_what_is_no_dicomweb_says_so(serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    service = serve(1)
    monkeypatch.setattr(service, "answer", lambda path: (200, {"Content-Type": "text/html"}, b"<html>CANARY"))
    with pytest.raises(ConfigError, match="is it the root of DICOMweb") as caught:
        service.archive.find_studies({})
    assert "CANARY" not in str(caught.value)
