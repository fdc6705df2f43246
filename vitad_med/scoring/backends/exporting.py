"""A bundle's network written for another runtime, once it was seen to give what torch gives."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from vitad_med import __version__
from vitad_med.checkpoint import atomic_path
from vitad_med.data.intensity import to_unit_range
from vitad_med.engines.precision import cpu_has_bf16, cpu_name
from vitad_med.errors import ConfigError, StorageError
from vitad_med.scoring.backends.base import check_exported, exported_path
from vitad_med.scoring.backends.certificate import (
    TOLERANCES,
    Certificate,
    certificate_path,
    deviations,
    exceeded,
    golden_path,
    write_certificate,
)
from vitad_med.scoring.backends.golden import Golden, golden_images
from vitad_med.scoring.backends.graph import ScoringGraph, onnx_bytes, reference
from vitad_med.scoring.backends.runtimes import PACKAGES, open_runtime, runtime_version
from vitad_med.scoring.bundle import ScoringBundle


def export(bundle: ScoringBundle, name: str, out: Path | None = None) -> tuple[Path, Certificate]:
    """Export, compare with torch on the golden images, and write the network, the golden images and the certificate.

    Both runtimes read ONNX, so each export is one file with its weights inside.

    Args:
        bundle: on the CPU.
        name: ``onnx`` or ``openvino``.
        out: the file to write; None is :func:`~vitad_med.scoring.backends.base.exported_path`.

    Returns:
        the file, and its certificate.

    Raises:
        ConfigError: a network that cannot be exported, packages that are missing, or parity that is not met; then
            nothing is written.
        StorageError: the place cannot be written.
    """
    check_exported(name)
    precision = export_precision(name, bundle.pipeline)
    version = runtime_version(name)
    path = exported_path(bundle.folder, name) if out is None else out
    _check_place(path, given=out is not None)
    images, kinds = golden_images(bundle.folder, bundle.channels, bundle.image_size)
    said = reference(bundle, torch.from_numpy(to_unit_range(images)))
    golden = Golden(images, said.map.numpy(), said.score.numpy())
    content = onnx_bytes(ScoringGraph(bundle), bundle.channels, bundle.image_size)
    deviation = measure(name, content, precision, golden)
    problem = exceeded(deviation, TOLERANCES[precision])
    if problem is not None:
        raise ConfigError(
            f"the exported network of '{bundle.name}' does not give what torch gives: {problem}. Nothing was written; "
            "score with --backend torch."
        )
    stored = golden.content()
    certificate = Certificate(
        backend=name,
        precision=precision,
        bundle=bundle.name,
        bundle_version=bundle.version,
        model_digest=bundle.model_digest,
        pipeline=dict(bundle.pipeline),
        input={"channels": bundle.channels, "side": bundle.image_size},
        exported_digest=hashlib.sha256(content).hexdigest(),
        golden_digest=hashlib.sha256(stored).hexdigest(),
        golden=kinds,
        tolerance=dict(TOLERANCES[precision]),
        deviation=deviation,
        software={
            "vitad-med": __version__,
            "torch": torch.__version__,
            "onnx": importlib.metadata.version("onnx"),
            PACKAGES[name]: version,
        },
        cpu=cpu_name(),
        threads=torch.get_num_threads(),
    )
    # The certificate last: until it is there, what lies beside a former one is refused by its digests.
    for file, data in ((path, content), (golden_path(path), stored)):
        with atomic_path(file) as temporary:
            temporary.write_bytes(data)
    write_certificate(certificate_path(path), certificate)
    return path, certificate


def measure(name: str, content: bytes, precision: str, golden: Golden) -> dict[str, float]:
    """Deviations of an exported network on this machine, in one batch and image by image, whichever is larger."""
    run = open_runtime(name, content, precision)
    inputs = golden.inputs()
    found = deviations(golden, *run(inputs))
    for index in range(len(inputs)):
        part = slice(index, index + 1)
        one = Golden(golden.images[part], golden.map[part], golden.score[part])
        alone = deviations(one, *run(inputs[part]))
        found = {key: _larger(value, alone[key]) for key, value in found.items()}
    return found


def _larger(a: float, b: float) -> float:
    return a if a != a or a >= b else b  # NaN stays


def export_precision(name: str, pipeline: Mapping[str, object]) -> str:
    """Number format of an export: float32, or bfloat16 where the bundle's key ``amp`` is set.

    Raises:
        ConfigError: a runtime or a CPU without bfloat16.
    """
    if not pipeline.get("amp"):
        return "float32"
    if name != "openvino":
        raise ConfigError(f"backend '{name}' computes in float32: leave amp out, or use openvino or torch.")
    if not cpu_has_bf16():
        raise ConfigError("this CPU has no bfloat16 arithmetic: leave amp out.")
    return "bfloat16"


def _check_place(path: Path, given: bool) -> None:
    """Found out before a minute is spent."""
    if path.is_dir():
        raise StorageError(f"--out '{path}' is a folder: give the file to write.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK):
        remedy = "choose another file" if given else "give --out FILE"
        raise StorageError(f"'{folder}' cannot be written: {remedy}.")
