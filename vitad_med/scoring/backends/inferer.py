"""An exported network where a bundle's config has its inferer, so that an evaluation or a calibration runs on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from vitad_med.outputs import AnomalyOutput
from vitad_med.scoring.backends.base import exported_path
from vitad_med.scoring.backends.exporting import export_precision
from vitad_med.scoring.backends.opening import exported_description, open_exported


class ExportedInferer(Inferer):
    """Asks an exported network in place of the one it is called with.

    Args:
        backend: ``onnx`` or ``openvino``.
        bundle_root: the bundle, where its export lies unless told otherwise.
        model_digest, pipeline, channels, image_size: of the bundle, which the certificate must be of.
        exported: the file that ``vitad-med export`` wrote; None is its default place.

    Raises:
        ConfigError, WeightsError: as :func:`~vitad_med.scoring.backends.opening.open_exported`.
    """

    def __init__(
        self,
        backend: str,
        bundle_root: str | Path,
        model_digest: str,
        pipeline: Mapping[str, Any],
        channels: int,
        image_size: int,
        exported: str | Path | None = None,
    ) -> None:
        super().__init__()
        path = exported_path(Path(bundle_root), backend) if exported is None else Path(exported)
        self._backend = open_exported(backend, path, model_digest, pipeline, (channels, image_size))

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any
    ) -> AnomalyOutput:
        """Score [B] and map [B, 1, H, W], float32, of images [B, C, H, W] in 0..1; ``network`` is not asked."""
        amap, score = self._backend(inputs.cpu().numpy())
        return AnomalyOutput(torch.from_numpy(score), torch.from_numpy(amap))


def config_overrides(backend: str, exported: Path | None) -> dict[str, Any]:
    """Keys of a bundle's ``evaluate.json`` that put an exported network in place of its own."""
    module = __name__
    return {
        "device": "cpu",
        "inferer": {
            "_target_": f"{module}.{ExportedInferer.__name__}",
            "backend": backend,
            "exported": None if exported is None else str(exported.absolute()),
            **{key: f"@{key}" for key in ("bundle_root", "model_digest", "pipeline", "channels", "image_size")},
        },
        "backend": {
            "_target_": f"{module}.{exported_backend.__name__}",
            "backend": backend,
            "pipeline": "@pipeline",
        },
    }


def exported_backend(backend: str, pipeline: Mapping[str, Any]) -> dict[str, str]:
    """The ``backend`` of a run's journal, as the opened backend describes itself."""
    return exported_description(backend, export_precision(backend, pipeline))
