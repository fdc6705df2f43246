"""Several processes, one model: start, device, and the parts that only the first process does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from vitad_med.errors import ConfigError
from vitad_med.networks.state import save_model

SETTLE_SECONDS = 0.2
"""A thread gets the interpreter at once while another sleeps; this is far longer than it needs."""


def start_processes(device: str) -> None:
    """Join the process group that ``torchrun`` describes: NCCL on GPUs, gloo on CPUs.

    Raises:
        ConfigError: not started by ``torchrun``.
    """
    if "RANK" not in os.environ:
        raise ConfigError(
            "a configuration of several GPUs is started by torchrun: torchrun --nproc_per_node=N -m monai.bundle run "
            "--config_file \"['.../train.json','.../multi_gpu_train.json']\""
        )
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")


def process_device(device: str) -> torch.device:
    """This process's own GPU, or the CPU."""
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def save_model_once(path: str | Path, network: nn.Module) -> None:
    """Write the model from the first process; the others wait."""
    if dist.get_rank() == 0:
        save_model(path, network)
    dist.barrier()


def is_first() -> bool:
    """Whether this process writes files: rank 0, or the only one."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def finish_processes() -> None:
    """Leave the process group; nothing may be exchanged any more, and the process may end."""
    if dist.is_initialized():
        # Threads of gloo still hold tensors of the last exchange and need the interpreter to let go of them. One that
        # comes when the interpreter has ended aborts the process, so they get it now.
        time.sleep(SETTLE_SECONDS)
        dist.destroy_process_group()
