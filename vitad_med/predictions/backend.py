"""What computed the scores: a calibration made on one backend does not hold on another."""

from __future__ import annotations

import torch

from vitad_med.engines.precision import Precision


def torch_backend(device: torch.device | str, amp: bool) -> dict[str, str]:
    """Name, kind of device and number format, e.g. ``{"name": "torch", "device": "cpu", "precision": "float32"}``.

    The index of a device and the version of torch are left out: scores differ by rounding only.
    """
    precision = Precision.of(device, amp)
    return {
        "name": "torch",
        "device": torch.device(device).type,
        "precision": str(precision.dtype or torch.float32).removeprefix("torch."),
    }
