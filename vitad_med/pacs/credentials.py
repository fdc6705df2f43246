"""Passwords, tokens and certificates for archives: from the environment alone, and never shown."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase, _basic_auth_str

from vitad_med.errors import ConfigError
from vitad_med.pacs.address import WebAddress, is_loopback

WEB = "VITAD_MED_DICOMWEB_"
"""Prefix of the variables for DICOMweb: USER and PASSWORD, or TOKEN; CA; CERT and KEY."""

HANDSHAKE = 5.0
"""Seconds that a caller has to agree on encryption."""

DIMSE = "VITAD_MED_DICOM_"
"""Prefix of the variables for DICOM over TLS: CA, CERT and KEY."""


@dataclass(frozen=True)
class WebCredentials:
    """What a DICOMweb service wants to see; no text of it appears in a representation.

    Attributes:
        authorization: value of the HTTP header, or empty.
        ca: file with the certificates to trust, or None for those of the system.
        certificate: files of the client's certificate and its key, or None.
    """

    authorization: str = field(default="", repr=False)
    ca: str | None = None
    certificate: tuple[str, str] | None = None


def web_credentials() -> WebCredentials:
    """From ``VITAD_MED_DICOMWEB_*``.

    Raises:
        ConfigError: they contradict each other, or a file is missing; names the variable.
    """
    user, password, token = (os.environ.get(WEB + name, "") for name in ("USER", "PASSWORD", "TOKEN"))
    if token and (user or password):
        raise ConfigError(f"set {WEB}TOKEN, or {WEB}USER and {WEB}PASSWORD, not both")
    if bool(user) != bool(password):
        raise ConfigError(f"set both {WEB}USER and {WEB}PASSWORD")
    if any(sign in token for sign in "\r\n"):
        raise ConfigError(f"{WEB}TOKEN has more than one line")
    authorization = f"Bearer {token}" if token else _basic_auth_str(user, password) if user else ""
    return WebCredentials(authorization, _file(WEB + "CA"), _pair(WEB))


def exposed(address: WebAddress, credentials: WebCredentials) -> bool:
    """Whether credentials would cross a network in the clear."""
    return bool(credentials.authorization) and not address.encrypted and not is_loopback(address.host)


def open_session(credentials: WebCredentials) -> requests.Session:
    """A session that sends the credentials to no other place.

    It follows no redirection, and it reads no ``.netrc``: setting an authentication keeps requests from it.
    """
    session = _Session()
    session.auth = _Authorization(credentials.authorization)
    session.max_redirects = 0
    session.verify = credentials.ca or True
    session.cert = credentials.certificate
    return session


def client_tls() -> ssl.SSLContext:
    """TLS of an association that this machine asks for: the archive is verified, and its host name.

    Raises:
        ConfigError: a variable names a file that is missing or no certificate.
    """
    ca = _file(DIMSE + "CA")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.load_default_certs()
    _load(context, ca, _pair(DIMSE))
    return context


def server_tls() -> ssl.SSLContext:
    """TLS of associations that others ask for; they must show a certificate when ``VITAD_MED_DICOM_CA`` is set.

    Raises:
        ConfigError: no certificate is named, or a file is missing or no certificate.
    """
    pair = _pair(DIMSE)
    if pair is None:
        raise ConfigError(f"--tls needs a certificate: set {DIMSE}CERT and {DIMSE}KEY to its files")
    ca = _file(DIMSE + "CA")
    context = _HurryingContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, ca, pair)
    if ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _HurryingContext(ssl.SSLContext):
    """Gives a caller seconds for its handshake: pynetdicom waits for it before it listens to others."""

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        sock.settimeout(HANDSHAKE)
        wrapped = super().wrap_socket(sock, *args, **kwargs)
        wrapped.settimeout(None)
        return wrapped


class _Session(requests.Session):
    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """requests' own, with the wildcards of a query as they are: Orthanc 1.10 does not undo their escapes."""
        prepared = super().prepare_request(request)
        path, mark, query = (prepared.url or "").partition("?")
        for escaped, plain in (("%2A", "*"), ("%3F", "?"), ("+", "%20")):
            query = query.replace(escaped, plain)
        prepared.url = path + mark + query
        return prepared

    def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
        """requests' own, but REQUESTS_CA_BUNDLE does not win over the authority that is named for this archive."""
        settings = super().merge_environment_settings(*args, **kwargs)
        if self.verify is not True:
            settings["verify"] = self.verify
        return settings


class _Authorization(AuthBase):
    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value:
            request.headers["Authorization"] = self._value
        return request


def _load(context: ssl.SSLContext, ca: str | None, pair: tuple[str, str] | None) -> None:
    try:
        if ca is not None:
            context.load_verify_locations(ca)
        if pair is not None:
            context.load_cert_chain(*pair, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigError(f"{DIMSE}CA, {DIMSE}CERT or {DIMSE}KEY names no certificate or key in PEM format") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal, and a service would hang.
    raise ValueError("the key is encrypted")


def _file(variable: str) -> str | None:
    name = os.environ.get(variable)
    if not name:
        return None
    if not Path(name).is_file():
        raise ConfigError(f"{variable} names a file that does not exist")
    return name


def _pair(prefix: str) -> tuple[str, str] | None:
    certificate, key = _file(prefix + "CERT"), _file(prefix + "KEY")
    if (certificate is None) != (key is None):
        raise ConfigError(f"set both {prefix}CERT and {prefix}KEY")
    return None if certificate is None or key is None else (certificate, key)
