"""What the outputs of a run depend on: settings, software and files, as digests."""

from __future__ import annotations

import hashlib
import hmac
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any

from vitad_med import __version__
from vitad_med.data.worklist import Item
from vitad_med.digests import config_digest
from vitad_med.scoring.bundle import ScoringBundle
from vitad_med.scoring.settings import ScoreSettings
from vitad_med.site.key import SiteKey

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


@dataclass(frozen=True)
class Inputs:
    """What the bytes of a session's runs depend on, beside files, key and calibration.

    Attributes:
        settings: of the session.
        bundle: that scores.
        pipeline, backend: as in a run's journal.
    """

    settings: ScoreSettings
    bundle: ScoringBundle
    pipeline: Mapping[str, Any]
    backend: Mapping[str, Any]

    @cached_property
    def values(self) -> dict[str, Any]:
        """What changes a DICOM object, model, calibration and software aside; plain values as JSON reads them."""
        settings, bundle = self.settings, self.bundle
        values = {
            "batch_size": settings.batch_size,
            "window": settings.window,
            "region_share": settings.region_share,
            "deidentify": settings.deidentify,
            "encoding": settings.encoding,
            **{f"pipeline.{key}": value for key, value in self.pipeline.items()},
            **{f"backend.{key}": value for key, value in self.backend.items()},
            # What lies within decides on p-value and flag.
            "bundle": bundle.name,
            "version": bundle.version,
            **{f"intended_use.{key}": value for key, value in asdict(bundle.intended).items()},
        }
        return dict(json.loads(json.dumps(values, default=str)))

    @property
    def digest(self) -> str:
        """SHA-256 of :attr:`values`."""
        return config_digest(self.values)

    def record(self, calibration_digest: str, key: SiteKey, files: str, created: str) -> dict[str, Any]:
        """All that the bytes of a run depend on, plain values, nothing of this machine or of a patient."""
        return {
            "created": created,
            **self.values,
            "model_digest": self.bundle.model_digest,
            "calibration_digest": calibration_digest,
            "software_digest": software().digest,
            "outputs": list(self.settings.outputs),
            "thumbnails": self.settings.thumbnails,
            "site_key": key.id,
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
