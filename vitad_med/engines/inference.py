"""How a trained network is asked: one inferer for evaluation, folders and validation."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from vitad_med.engines.precision import Precision
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.reconstruction import ReconstructionNetwork
from vitad_med.normality.detector import NormalityDetector
from vitad_med.outputs import AnomalyOutput


class AnomalyInferer(Inferer):
    """Calls ``network.predict`` on whole images and returns an :class:`~vitad_med.outputs.AnomalyOutput`.

    Args:
        amp: mixed precision where the device has it; off by default, so that scores do not depend on the machine's
            number formats.
    """

    def __init__(self, amp: bool = False) -> None:
        super().__init__()
        self.amp = amp

    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: ProxyNetwork | ReconstructionNetwork | NormalityDetector,
        *args: Any,
        **kwargs: Any,
    ) -> AnomalyOutput:
        """Score [B] and map [B, 1, H, W], float32, of images [B, C, H, W] in 0..1."""
        with torch.no_grad(), Precision.of(inputs.device, self.amp).autocast():
            output = network.predict(inputs, *args, **kwargs)
        return AnomalyOutput(output.score.float(), output.map.float())


def prepare_images(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor]:
    """MONAI ``prepare_batch``: images and labels of a :class:`~vitad_med.data.dataset.CaseDataset` batch."""
    return batch["image"].to(device, non_blocking=non_blocking), batch["label"].to(device, non_blocking=non_blocking)
