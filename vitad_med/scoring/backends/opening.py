"""Opens a backend; an exported network only with a certificate that holds here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitad_med import __version__
from vitad_med.digests import first_difference, short
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.scoring.backends.base import BACKENDS, Backend, TorchBackend, exported_path
from vitad_med.scoring.backends.certificate import (
    TOLERANCES,
    Certificate,
    certificate_path,
    deviations,
    exceeded,
    golden_path,
    read_certificate,
)
from vitad_med.scoring.backends.exporting import export_precision
from vitad_med.scoring.backends.golden import Golden
from vitad_med.scoring.backends.runtimes import Runtime, open_runtime
from vitad_med.scoring.bundle import ScoringBundle


class ExportedBackend:
    """An exported network on the CPU.

    Args:
        run: the opened network.
        certificate: that of the network.
    """

    def __init__(self, run: Runtime, certificate: Certificate) -> None:
        self.certificate = certificate
        self.description: Mapping[str, Any] = exported_description(certificate.backend, certificate.precision)
        self._run = run

    def __call__(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See :class:`~vitad_med.scoring.backends.base.Backend`."""
        return self._run(np.ascontiguousarray(images, dtype=np.float32))


def exported_description(backend: str, precision: str) -> dict[str, str]:
    """What :attr:`ExportedBackend.description` says.

    Versions of the runtime are left out, as torch's are: scores differ by rounding only, and the certificate holds.
    """
    return {"name": backend, "device": "cpu", "precision": precision}


def open_backend(name: str, bundle: ScoringBundle, exported: Path | None = None) -> Backend:
    """Make ready what computes the scores of a bundle.

    Args:
        name: ``torch``, ``onnx`` or ``openvino``.
        bundle: see :func:`~vitad_med.scoring.bundle.load_bundle`.
        exported: file that ``vitad-med export`` wrote; None is its default place in the bundle.

    Raises:
        ConfigError: an unknown name, ``exported`` for torch, an export of other settings or weights than the bundle's,
            or packages that are not installed.
        WeightsError: no exported file or certificate, damaged files, or golden images that do not hold here.
    """
    if name not in BACKENDS:
        raise ConfigError(f"backend '{name}' is unknown: use {', '.join(BACKENDS)}.")
    if name == "torch":
        if exported is not None:
            raise ConfigError(
                f"'{exported}' is an exported network, which torch does not run: use --backend onnx or openvino."
            )
        return TorchBackend(bundle)
    path = exported_path(bundle.folder, name) if exported is None else exported
    return open_exported(name, path, bundle.model_digest, bundle.pipeline, (bundle.channels, bundle.image_size))


def open_exported(
    name: str, path: Path, model_digest: str, pipeline: Mapping[str, Any], size: tuple[int, int]
) -> ExportedBackend:
    """An exported network, if its certificate is of these weights and settings and holds on this machine.

    Args:
        name: ``onnx`` or ``openvino``.
        path: of the exported file.
        model_digest: of the bundle's weights.
        pipeline: the bundle's settings that change scores.
        size: channels and side of the images.

    Raises:
        ConfigError, WeightsError: as :func:`open_backend`.
    """
    precision = export_precision(name, pipeline)
    if not path.is_file():
        raise WeightsError(f"'{path}' does not exist: make it with `vitad-med export --backend {name}`.")
    certificate = read_certificate(certificate_path(path))
    _check_origin(path, certificate, name, precision, model_digest, pipeline, size)
    content = _read(path, certificate.exported_digest)
    golden_file = golden_path(path)
    golden = Golden.of_content(_read(golden_file, certificate.golden_digest), golden_file)
    run = open_runtime(name, content, precision)
    problem = exceeded(deviations(golden, *run(golden.inputs())), TOLERANCES[precision])
    if problem is not None:
        raise WeightsError(
            f"'{path}' does not give on this machine what its certificate says ({problem}): export again here, or "
            "score with --backend torch."
        )
    return ExportedBackend(run, certificate)


def _check_origin(
    path: Path,
    certificate: Certificate,
    name: str,
    precision: str,
    model_digest: str,
    pipeline: Mapping[str, Any],
    size: tuple[int, int],
) -> None:
    """Raise ConfigError where the certificate is of something else than what is to be scored with."""
    ours = {
        "backend": name,
        "precision": precision,
        "model_digest": model_digest,
        "channels": size[0],
        "side": size[1],
        "tolerance": dict(TOLERANCES[precision]),
        "version of vitad-med": __version__,
        **pipeline,
    }
    theirs = {
        "backend": certificate.backend,
        "precision": certificate.precision,
        "model_digest": certificate.model_digest,
        **certificate.input,
        "tolerance": dict(certificate.tolerance),
        "version of vitad-med": certificate.software.get("vitad-med"),
        **certificate.pipeline,
    }
    difference = first_difference(ours, theirs)
    if difference is not None:
        key, here, there = difference
        raise ConfigError(
            f"'{path}' was exported with {key} {there}, but here it is {here}: export again with the same --set and "
            "weights, or give the file of another export."
        )


def _read(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"'{path}' cannot be read ({error.strerror}): export again with `vitad-med export`."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise WeightsError(
            f"'{path}' is not the file that its certificate is of ({short(found)}, not {short(digest)}): export again "
            "with `vitad-med export`."
        )
    return content
