"""Mixed precision that suits the device: bf16 where native, fp16 with loss scaling on older GPUs, else float32."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices natively (AVX512-BF16 or AMX); emulation is slower than float32."""
    capabilities = torch.cpu
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(capabilities, probe)()) for probe in probes if hasattr(capabilities, probe))


def cpu_name() -> str:
    """Model of this machine's CPU, or the kind of machine where it is not told."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True)
class Precision:
    """Autocast type of a device.

    Attributes:
        device: where training or scoring runs.
        dtype: ``torch.bfloat16``, ``torch.float16``, or None for plain float32.
    """

    device: torch.device
    dtype: torch.dtype | None

    @classmethod
    def of(cls, device: torch.device | str, amp: bool) -> Precision:
        """The best type for ``device`` when ``amp`` is asked for; float32 otherwise."""
        device = torch.device(device)
        if not amp:
            return cls(device, None)
        if device.type == "cuda":
            return cls(
                device, torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
            )
        if device.type == "cpu":
            return cls(device, torch.bfloat16 if cpu_has_bf16() else None)
        return cls(device, torch.float16)

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which forward passes run."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaler, active for fp16 only."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)

    def __str__(self) -> str:
        return {torch.bfloat16: "bf16", torch.float16: "fp16", None: "fp32"}[self.dtype]
