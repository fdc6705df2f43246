"""What the outputs of a run depend on: settings, software and files, as digests."""

from __future__ import annotations

import hashlib
import hmac
import importlib.metadata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from vitad_med import __version__
from vitad_med.data.worklist import Item
from vitad_med.digests import config_digest
from vitad_med.site.key import SiteKey

if TYPE_CHECKING:
    from vitad_med.scoring.run import Session

_PACKAGES = (
    *("torch", "timm", "numpy", "scipy", "pydicom", "highdicom", "pillow"),
    *("pylibjpeg-openjpeg", "pyjpegls", "python-gdcm"),
)
"""Packages that compute scores, decode pixels, or write objects."""


@dataclass(frozen=True)
class Software:
    """Names and versions, and their digest."""

    text: str
    digest: str


@cache
def software() -> Software:
    """Of this installation."""
    versions = {"vitad-med": __version__, **{name: importlib.metadata.version(name) for name in _PACKAGES}}
    return Software(", ".join(f"{name} {version}" for name, version in versions.items()), config_digest(versions))


def run_record(session: Session, files: str, created: str) -> dict[str, Any]:
    """All that the bytes of a run depend on, plain values, nothing of this machine or of a patient."""
    settings = session.settings
    changing = {
        "pipeline": session.pipeline_settings,
        "backend": dict(session.backend.description),
        # What lies within decides on p-value and flag.
        "bundle": [session.bundle.name, session.bundle.version],
        "intended_use": asdict(session.bundle.intended),
        "batch_size": settings.batch_size,
        "window": settings.window,
        "region_share": settings.region_share,
        "deidentify": settings.deidentify,
    }
    return {
        "created": created,
        "bundle": session.bundle.name,
        "version": session.bundle.version,
        "model_digest": session.bundle.model_digest,
        "calibration_digest": session.judgement.digest,
        "software_digest": software().digest,
        "config_digest": config_digest(changing),
        "outputs": list(settings.outputs),
        "thumbnails": settings.thumbnails,
        "site_key": session.key.id,
        "files": files,
    }


def digest_of_files(items: Iterable[Item], key: SiteKey) -> str:
    """Which files a run is about: their places, sizes and times, under the key, so that nobody can try paths out."""
    digest = hmac.new(key.secret, b"files", hashlib.sha256)
    for item in items:
        try:
            status = item.path.stat()
            told = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            told = "gone"
        digest.update(f"{item.name}\0{told}\0{item.verdict.aside}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
