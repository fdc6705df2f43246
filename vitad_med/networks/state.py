"""A trained network as one small file: fp16 tensors, safe to load, refused where it does not fit."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vitad_med.checkpoint import load_checkpoint, save_checkpoint
from vitad_med.digests import state_digest
from vitad_med.errors import WeightsError


def save_model(path: str | Path, network: nn.Module) -> str:
    """Write a network's state dict with floating tensors in fp16 (half the size; scores move by less than 1e-3).

    Returns:
        the model digest, as :func:`load_model` gives it.
    """
    state: dict[str, Tensor] = {
        name: value.detach().cpu().half() if value.is_floating_point() else value.detach().cpu()
        for name, value in network.state_dict().items()
    }
    save_checkpoint(Path(path), state)
    return state_digest(state)


def load_model(path: str | Path, network: nn.Module) -> str:
    """Load what :func:`save_model` wrote into a network of the same architecture.

    Returns:
        SHA-256 digest of the stored tensors.

    Raises:
        WeightsError: missing or unreadable file, or tensors of another architecture.
    """
    state = load_checkpoint(Path(path))
    own = network.state_dict()
    wrong = [n for n in own if n not in state or state[n].shape != own[n].shape] + [n for n in state if n not in own]
    if wrong:
        raise WeightsError(
            f"'{path}' does not fit this network: '{wrong[0]}' and {len(wrong) - 1} other tensors are missing, unknown "
            "or of another shape; set architecture, image_size, head_hidden and detail_width as in its training"
        )
    network.load_state_dict(state)
    return state_digest({name: torch.as_tensor(value) for name, value in state.items()})
