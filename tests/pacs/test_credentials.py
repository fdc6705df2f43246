"""Credentials come from the environment alone and go to the archive alone."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import requests

from tests.pacs.conftest import Certificate
from vitad_med.errors import ConfigError
from vitad_med.pacs.address import WebAddress
from vitad_med.pacs.credentials import DIMSE, WEB, client_tls, exposed, open_session, server_tls, web_credentials


def sent(url: str) -> str | None:
    """The Authorization header that a request to a URL would carry."""
    request = open_session(web_credentials()).prepare_request(requests.Request("GET", url))
    return request.headers.get("Authorization")


def test_user_and_password_or_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sent("https://archive/x") is None
    monkeypatch.setenv(WEB + "USER", "Aladdin")
    with pytest.raises(ConfigError, match="set both VITAD_MED_DICOMWEB_USER and VITAD_MED_DICOMWEB_PASSWORD"):
        web_credentials()
    monkeypatch.setenv(WEB + "PASSWORD", "open sesame")
    assert sent("https://archive/x") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617, section 2
    monkeypatch.setenv(WEB + "TOKEN", "abc")
    with pytest.raises(ConfigError, match="not both"):
        web_credentials()
    monkeypatch.delenv(WEB + "USER")
    monkeypatch.delenv(WEB + "PASSWORD")
    assert sent("https://archive/x") == "Bearer abc"


def test_nothing_of_them_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB + "TOKEN", "canary")
    assert "canary" not in repr(web_credentials())
    monkeypatch.setenv(WEB + "TOKEN", "canary\nHeader: x")
    with pytest.raises(ConfigError) as caught:
        web_credentials()
    assert "canary" not in str(caught.value)


def test_a_netrc_file_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine archive login canary password canary\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert "Authorization" in requests.Session().prepare_request(requests.Request("GET", "https://archive/x")).headers
    assert sent("https://archive/x") is None


def test_the_named_authority_wins_over_that_of_other_programs(
    monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/another/bundle.pem")
    monkeypatch.setenv(WEB + "CA", str(certificate.cert))
    session = open_session(web_credentials())
    assert session.merge_environment_settings("https://a", {}, None, None, None)["verify"] == str(certificate.cert)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://10.0.0.5/x", True),
        ("https://10.0.0.5/x", False),
        ("http://127.0.0.1/x", False),
        ("http://[::1]/x", False),
    ],
)
def test_credentials_in_the_clear_are_noticed(monkeypatch: pytest.MonkeyPatch, url: str, expected: bool) -> None:
    assert not exposed(WebAddress(url), web_credentials())
    monkeypatch.setenv(WEB + "TOKEN", "abc")
    assert exposed(WebAddress(url), web_credentials()) is expected


def test_missing_files_and_halves_are_named(monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> None:
    monkeypatch.setenv(WEB + "CA", "/nowhere.pem")
    with pytest.raises(ConfigError, match="VITAD_MED_DICOMWEB_CA names a file that does not exist"):
        web_credentials()
    monkeypatch.delenv(WEB + "CA")
    monkeypatch.setenv(WEB + "CERT", str(certificate.cert))
    with pytest.raises(ConfigError, match="set both VITAD_MED_DICOMWEB_CERT and VITAD_MED_DICOMWEB_KEY"):
        web_credentials()


def test_contexts_verify_and_use_tls_1_2_or_later(monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> None:
    with pytest.raises(ConfigError, match="--tls needs a certificate"):
        server_tls()
    monkeypatch.setenv(DIMSE + "CERT", str(certificate.cert))
    monkeypatch.setenv(DIMSE + "KEY", str(certificate.key))
    assert server_tls().verify_mode == ssl.CERT_NONE
    monkeypatch.setenv(DIMSE + "CA", str(certificate.cert))
    assert server_tls().verify_mode == ssl.CERT_REQUIRED
    client = client_tls()
    assert client.verify_mode == ssl.CERT_REQUIRED
    assert client.check_hostname
    assert client.minimum_version == ssl.TLSVersion.TLSv1_2
    monkeypatch.setenv(DIMSE + "KEY", str(certificate.cert))
    with pytest.raises(ConfigError, match="PEM"):
        client_tls()
