"""`vitad-med version`: what a bug report or a benchmark needs to say about the machine."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from typing import Any

import torch

from vitad_med import __version__, _torchvision_cpu
from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.engines.precision import Precision, cpu_has_bf16, cpu_name

LIBRARIES = (
    "torch",
    "torchvision",
    "monai",
    "pytorch-ignite",
    "timm",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "mlflow",
)

DESCRIPTION = """\
Print the version of vitad-med and of the libraries under it, the devices that
torch sees, the thread counts and whether bfloat16 runs natively."""

EXAMPLES = """\
examples:
  vitad-med version
  vitad-med version --json > machine.json
"""


def add_command(commands: Any) -> None:
    """Add `version` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "version",
        help="library versions, devices, threads, bf16 support",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the facts."""
    found = facts()
    if options.json:
        print(json.dumps(found, indent=2))
        return OK
    print(f"vitad-med {found['vitad-med']}")
    print(f"Python {found['python']} on {found['platform']}")
    for name, number in found["libraries"].items():
        print(f"  {name} {number or 'not installed'}")
    if found["torchvision_operators"] == "schemas only":
        print("  torchvision's compiled operators do not load beside this torch; vitad-med does not use them")
    for device in found["devices"]:
        bf16 = "native bf16" if device["bf16"] else "no native bf16"
        print(f"device {device['device']}: {device['name']}, {device['memory_gib']} GiB, {bf16}, amp: {device['amp']}")
    threads = found["threads"]
    print(f"threads: {threads['torch']} torch, {threads['torch_interop']} inter-op, {threads['cpus']} CPUs")
    return OK


def facts() -> dict[str, Any]:
    """Versions, devices and threads as one JSON-ready dict.

    A device has `memory_gib`, the whole device's in GiB, `bf16`, whether it multiplies bfloat16 natively, and `amp`,
    the type that mixed precision uses on it: bf16, fp16 or fp32.
    """
    return {
        "vitad-med": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "torchvision_operators": "schemas only" if _torchvision_cpu.applied else "loaded",
        "devices": _devices(),
        "threads": {
            "torch": torch.get_num_threads(),
            "torch_interop": torch.get_num_interop_threads(),
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        },
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[dict[str, Any]]:
    devices = [_device("cpu", cpu_name(), _main_memory(), cpu_has_bf16())]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        # Compute capability 8.0 is the first with bfloat16 matrix units; older cards emulate it.
        devices.append(_device(f"cuda:{index}", properties.name, properties.total_memory, properties.major >= 8))
    if torch.backends.mps.is_available():
        devices.append(_device("mps", platform.processor(), torch.mps.recommended_max_memory(), False))
    return devices


def _device(device: str, name: str, memory_bytes: int | None, bf16: bool) -> dict[str, Any]:
    return {
        "device": device,
        "name": name,
        "memory_gib": None if memory_bytes is None else round(memory_bytes / 2**30, 1),
        "bf16": bf16,
        "amp": str(Precision.of(device, amp=True)),
    }


def _main_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
