"""Where an archive is: a DICOMweb service or a DICOM application entity."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from vitad_med.errors import ConfigError

_SCHEMES = "http://, https://, dicom://AE@host:port or dicom-tls://AE@host:port"
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
"""PS3.5 6.2, VR AE: up to 16 characters without backslash and control characters."""


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Root of a DICOMweb service.

    Attributes:
        url: without a slash at its end, and without credentials.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def host(self) -> str:
        """Name or number of the machine."""
        return urlsplit(self.url).hostname or ""

    @property
    def encrypted(self) -> bool:
        """Whether the way there is."""
        return self.url.startswith("https:")


@dataclass(frozen=True, slots=True)
class DimseAddress:
    """An application entity that takes C-STORE.

    Attributes:
        ae_title: of the archive, which it expects to be called by.
        host, port: of the archive.
        tls: whether the association is encrypted (PS3.15 B).
    """

    ae_title: str
    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'dicom-tls' if self.tls else 'dicom'}://{self.ae_title}@{host}:{self.port}"


Address = WebAddress | DimseAddress


def parse_address(text: str) -> Address:
    """Read an address from the command line.

    Raises:
        ConfigError: it cannot be read, or holds a password, which other users of the machine would see; the text is
            not repeated then.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigError("the address of the archive cannot be read; give " + _SCHEMES) from error
    if parts.password is not None or (parts.username is not None and parts.scheme.startswith("http")):
        raise ConfigError(
            "the address of the archive holds a user or password, which every user of this machine can read: leave "
            "them out and set VITAD_MED_DICOMWEB_USER and VITAD_MED_DICOMWEB_PASSWORD"
        )
    if parts.query or parts.fragment or not parts.hostname:
        raise ConfigError("the address of the archive has no host, or a '?' or '#'; give " + _SCHEMES)
    if parts.scheme in ("http", "https"):
        return WebAddress(text.rstrip("/"))
    if parts.scheme in ("dicom", "dicom-tls"):
        return _dimse(parts, parts.hostname, port)
    raise ConfigError(f"an archive is reached by {_SCHEMES}, not by '{parts.scheme}:'")


def parse_web_address(text: str) -> WebAddress:
    """An address that must be of a DICOMweb service.

    Raises:
        ConfigError: it is not.
    """
    address = parse_address(text)
    if not isinstance(address, WebAddress):
        raise ConfigError("files are fetched by DICOMweb: give http:// or https:// and the path, e.g. /dicom-web")
    return address


def _dimse(parts: SplitResult, host: str, port: int | None) -> DimseAddress:
    title = check_ae_title(unquote(parts.username or ""))
    if port is None or parts.path.strip("/"):
        raise ConfigError(f"give the archive as {parts.scheme}://AE@host:port, without a path")
    return DimseAddress(title, host, port, tls=parts.scheme == "dicom-tls")


def check_ae_title(text: str) -> str:
    """An application entity's title without spaces around it.

    Raises:
        ConfigError: it is none.
    """
    title = text.strip(" ")
    if not _AE_TITLE.fullmatch(title):
        raise ConfigError("an AE title has 1 to 16 printable ASCII characters and no backslash, e.g. ARCHIVE")
    return title


def is_loopback(host: str) -> bool:
    """Whether a host is this very machine, as far as its name says."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
