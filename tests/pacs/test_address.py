"""Where archives are, as people write it, and what is refused without being repeated."""

from __future__ import annotations

import pytest

from vitad_med.errors import ConfigError
from vitad_med.pacs.address import DimseAddress, WebAddress, is_loopback, parse_address, parse_web_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://archive.example/dicom-web/", WebAddress("https://archive.example/dicom-web")),
        ("http://127.0.0.1:8042/dicom-web", WebAddress("http://127.0.0.1:8042/dicom-web")),
        ("dicom://ARCHIVE@10.0.0.5:104", DimseAddress("ARCHIVE", "10.0.0.5", 104)),
        ("dicom://MY%20PACS@archive:104", DimseAddress("MY PACS", "archive", 104)),
        ("dicom-tls://ARCHIVE@[::1]:2762", DimseAddress("ARCHIVE", "::1", 2762, tls=True)),
    ],
)
def test_addresses(text: str, address: object) -> None:
    assert parse_address(text) == address


def test_an_address_is_written_as_it_is_read() -> None:
    for text in ("https://archive.example/dicom-web", "dicom://ARCHIVE@10.0.0.5:104", "dicom-tls://A@[::1]:2762"):
        assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "https://canary:secret@archive.example/dicom-web",
        "https://canary@archive.example/dicom-web",
        "dicom://ARCHIVE:canary@10.0.0.5:104",
    ],
)
def test_credentials_in_the_address_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="VITAD_MED_DICOMWEB_PASSWORD") as caught:
        parse_address(text)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "archive", "/folder", "ftp://archive/x", "https://", "https://archive/x?token=1", "http://a:port/"),
        *("dicom://10.0.0.5:104", "dicom://A@10.0.0.5", "dicom://A@10.0.0.5:104/x", "dicom://A%5CB@10.0.0.5:104"),
        *("dicom://SEVENTEEN-LETTERS@10.0.0.5:104", "dicom://A@10.0.0.5:99999", "https://[::1/x"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)


def test_fetching_needs_dicomweb() -> None:
    assert parse_web_address("https://archive/x") == WebAddress("https://archive/x")
    with pytest.raises(ConfigError, match="fetched by DICOMweb"):
        parse_web_address("dicom://A@10.0.0.5:104")


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST")))
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "::", "localhost.example", "")))
