"""What a backend is, and where exported networks lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from vitad_med.errors import ConfigError
from vitad_med.scoring.bundle import ScoringBundle

BackendName = Literal["torch", "onnx", "openvino"]
BACKENDS: tuple[str, ...] = get_args(BackendName)
EXPORTED = ("onnx", "openvino")
"""Those that run an exported network."""

_FILES = {"onnx": "model.onnx", "openvino": "model.openvino.onnx"}


class Backend(Protocol):
    """Gives maps and scores of a batch.

    Attributes:
        description: name, kind of device and number format, plain values: the ``backend`` of a run's journal, whose
            digest calibrations are bound to.
    """

    @property
    def description(self) -> Mapping[str, Any]: ...

    def __call__(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps [B, 1, h, w] and scores [B], both float32 in 0..1, of images [B, C, S, S] in 0..1."""


class TorchBackend:
    """The bundle's own network and inferer, on the bundle's device.

    Args:
        bundle: see :func:`~vitad_med.scoring.bundle.load_bundle`; mixed precision is its key ``amp``.
    """

    def __init__(self, bundle: ScoringBundle) -> None:
        self.description: Mapping[str, Any] = dict(bundle.backend)
        self._bundle = bundle

    def __call__(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See :class:`Backend`."""
        given = torch.from_numpy(np.ascontiguousarray(images)).to(self._bundle.device)
        output = self._bundle.inferer(given, self._bundle.network)
        return output.map.float().cpu().numpy(), output.score.float().cpu().numpy()


def exported_path(bundle: Path, name: str) -> Path:
    """Where ``vitad-med export`` puts a network unless told otherwise: in the bundle's ``models``.

    Raises:
        ConfigError: the backend has no exported file.
    """
    check_exported(name)
    return bundle / "models" / _FILES[name]


def check_exported(name: str) -> None:
    """Raise ConfigError for a name that is no backend with an exported file."""
    if name not in EXPORTED:
        raise ConfigError(f"backend '{name}' has no exported file: use {' or '.join(EXPORTED)}.")
