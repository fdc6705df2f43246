"""ONNX Runtime and OpenVINO, which are optional packages: an exported network as a function of a batch."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vitad_med.errors import ConfigError, WeightsError
from vitad_med.scoring.backends.base import check_exported

INPUT, MAP, SCORE = "images", "map", "score"
"""Names of the exported network's input and outputs."""

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}

Runtime = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Maps and scores of a batch, as :class:`~vitad_med.scoring.backends.base.Backend`."""


def open_runtime(name: str, content: bytes, precision: str = "float32", threads: int | None = None) -> Runtime:
    """Make an exported network ready on the CPU.

    Args:
        name: ``onnx`` or ``openvino``.
        content: bytes of the exported ONNX file.
        precision: ``float32``, or ``bfloat16`` with OpenVINO.
        threads: of one batch; None is as many as torch has.

    Raises:
        ConfigError: the package is not installed; a precision that the runtime does not have.
        WeightsError: the content is no network that the runtime reads.
    """
    check_exported(name)
    count = threads or torch.get_num_threads()
    if name == "onnx":
        if precision != "float32":
            raise ConfigError("ONNX Runtime computes in float32 here: leave amp out, or use the backend openvino.")
        return _onnx_runtime(content, count)
    return _openvino(content, precision, count)


def runtime_version(name: str) -> str:
    """Version of the package behind a backend.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.metadata.version(PACKAGES[name])
    except importlib.metadata.PackageNotFoundError as error:
        raise missing(name) from error


def missing(extra: str) -> ConfigError:
    """The error where an optional package is not installed."""
    return ConfigError(f"the packages of the extra '{extra}' are not installed: pip install 'vitad-med[{extra}]'.")


def _onnx_runtime(content: bytes, threads: int) -> Runtime:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnx") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # warnings about its own optimizer's choices are nothing that a user can mend
    # Threads that wait for the next batch leave the cores to the processes that decode it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base class
        raise WeightsError(f"ONNX Runtime cannot read the exported network ({_line(error)}): export again.") from error

    def run(images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        amap, score = session.run([MAP, SCORE], {INPUT: images})
        return amap, score

    return run


def _openvino(content: bytes, precision: str, threads: int) -> Runtime:
    try:
        import openvino
    except ImportError as error:
        raise missing("openvino") from error
    settings: dict[str, Any] = {
        # Without this OpenVINO takes 16 bits by itself on a CPU that has them.
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(content), "CPU", settings)
    except RuntimeError as error:
        raise WeightsError(f"OpenVINO cannot read the exported network ({_line(error)}): export again.") from error

    def run(images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        found = compiled(images, share_outputs=False)  # the next batch is written into the same memory
        return found[MAP], found[SCORE]

    return run


def _line(error: Exception) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:120] if lines else type(error).__name__
