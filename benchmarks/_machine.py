"""A few lines on the machine and the libraries, printed above every benchmark's figures."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np  # noqa: F401  # loads the BLAS library that threadpoolctl reports
import threadpoolctl
import torch

LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "monai", "opencv-python-headless", "torchmetrics", "timm")


def describe_machine() -> str:
    """CPU model, usable cores, thread pools with their number of threads, torch threads, device, library versions."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [
        f"CPU      {_cpu_model()}, {usable} of {os.cpu_count()} cores usable, {platform.machine()} {platform.system()}",
        f"load     {_load()} (1, 5, 15 minutes)",
        f"threads  torch {torch.get_num_threads()}; {_pools()}",
    ]
    if torch.cuda.is_available():
        lines.append(f"GPU      {torch.cuda.get_device_name()}")
    lines.append(f"python   {platform.python_version()}; {_versions()}")
    return "\n".join(lines)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.lower().startswith(("model name", "hardware", "cpu model")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown model"


def _load() -> str:
    try:
        return " ".join(f"{value:.2f}" for value in os.getloadavg())
    except (AttributeError, OSError):
        return "unknown"


def _pools() -> str:
    pools = {
        f"{pool['internal_api']} {pool['version'] or ''} ({pool.get('architecture', pool.get('threading_layer', ''))}) "
        f"{pool['num_threads']}".replace(" () ", " ").replace("  ", " ")
        for pool in threadpoolctl.threadpool_info()
    }
    return ", ".join(sorted(pools)) or "no pools"


def _versions() -> str:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


if __name__ == "__main__":
    print(describe_machine())
