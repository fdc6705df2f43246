"""The parity certificate: proof, kept beside an exported network, that it gives what torch gives.

Every map and score of this package lies in 0..1. Distances d enter as d / (d + scale), which turns a relative deviation
r of a distance into at most r / 4; so one absolute tolerance serves all networks.

Scores may differ by 1e-5, and so may maps on average over the pixels of each image. At a single pixel ten times as much
is allowed, because torch's own float32 is as far as 1.5e-5 from float64 there: the attention map is a sigmoid of
a N A + b with a N about 400, which amplifies rounding (``benchmarks/backends.py`` prints both). A map in a 16-bit PNG
has steps of 1.5e-5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitad_med.checkpoint import atomic_path
from vitad_med.errors import WeightsError
from vitad_med.scoring.backends.golden import Golden

SCHEMA = "vitad_med/parity/1"

TOLERANCES: Mapping[str, Mapping[str, float]] = {
    "float32": {"score": 1e-5, "map_mean": 1e-5, "map_pixel": 1e-4},
    # Eight bits of mantissa: what that does to AUROC is in docs/backends.md.
    "bfloat16": {"score": 1e-1, "map_mean": 2e-2, "map_pixel": 5e-1},
}
"""Largest deviations from torch float32 by the precision of the export."""


@dataclass(frozen=True)
class Certificate:
    """What was exported, from what, and how far it is from torch.

    Attributes:
        backend: ``onnx`` or ``openvino``.
        precision: ``float32`` or ``bfloat16``.
        bundle, bundle_version: name and version.
        model_digest: of the weights.
        pipeline: the settings that change scores.
        input: channels and side of the images.
        exported_digest, golden_digest: SHA-256 of the two files.
        golden: what each golden image is.
        tolerance: largest deviations allowed.
        deviation: those measured when the certificate was made.
        software: versions by package.
        cpu, threads: where it was made.
    """

    backend: str
    precision: str
    bundle: str
    bundle_version: str
    model_digest: str
    pipeline: Mapping[str, Any]
    input: Mapping[str, int]
    exported_digest: str
    golden_digest: str
    golden: list[str]
    tolerance: Mapping[str, float]
    deviation: Mapping[str, float]
    software: Mapping[str, str]
    cpu: str
    threads: int


def certificate_path(exported: Path) -> Path:
    """Beside the exported file."""
    return exported.with_name(f"{exported.name}.certificate.json")


def golden_path(exported: Path) -> Path:
    """Beside the exported file."""
    return exported.with_name(f"{exported.name}.golden.safetensors")


def write_certificate(path: Path, certificate: Certificate) -> None:
    """Write it as JSON, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    text = json.dumps({"schema": SCHEMA, **asdict(certificate)}, indent=2, sort_keys=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_certificate(path: Path) -> Certificate:
    """What :func:`write_certificate` wrote.

    Raises:
        WeightsError: missing, or something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA:
            raise ValueError("schema")
        return Certificate(**{field.name: content[field.name] for field in fields(Certificate)})
    except FileNotFoundError as error:
        raise WeightsError(
            f"'{path}' is missing, and an exported network is not used without its certificate: export again with "
            "`vitad-med export`."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"'{path}' is no parity certificate of this version: export again with `vitad-med export`."
        ) from error


def deviations(golden: Golden, amap: NDArray[np.float32], score: NDArray[np.float32]) -> dict[str, float]:
    """Largest deviations from torch over the golden images, by the keys of :data:`TOLERANCES`.

    ``map_mean`` is the largest mean over the pixels of one image, ``map_pixel`` the largest of any pixel. NaN where
    shapes differ or a value is not finite.
    """
    if amap.shape != golden.map.shape or score.shape != golden.score.shape:
        return dict.fromkeys(("score", "map_mean", "map_pixel"), float("nan"))
    by_pixel = np.abs(amap.astype(np.float64) - golden.map)
    return {
        "score": float(np.abs(score.astype(np.float64) - golden.score).max()),
        "map_mean": float(by_pixel.mean(axis=(1, 2, 3)).max()),
        "map_pixel": float(by_pixel.max()),
    }


def exceeded(deviation: Mapping[str, float], tolerance: Mapping[str, float]) -> str | None:
    """The first deviation that is not within its tolerance, in words."""
    for key, words in _WORDS.items():
        if not deviation[key] <= tolerance[key]:  # NaN is not within
            return f"{words} deviate by {deviation[key]:.1e}, more than {tolerance[key]:.0e}"
    return None


_WORDS = {
    "score": "scores",
    "map_mean": "maps, averaged over an image,",
    "map_pixel": "maps at single pixels",
}
