"""A trained network as one small file: tensors alone, safe to load, refused where it does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vitad_med.checkpoint import load_checkpoint, save_checkpoint
from vitad_med.digests import state_digest
from vitad_med.errors import WeightsError

_Network = TypeVar("_Network", bound=nn.Module)


def save_model(path: str | Path, network: nn.Module, dtype: torch.dtype = torch.float16) -> str:
    """Write a network's state dict.

    Args:
        path: the file, replaced whole.
        network: any module.
        dtype: type of the stored floating tensors. fp16 is half the size and moves scores by less than 1e-3, more than
            a few small updates do: float32 for a model that differs from another by these.

    Returns:
        the model digest, as :func:`load_model` gives it.
    """
    state: dict[str, Tensor] = {
        name: value.detach().cpu().to(dtype) if value.is_floating_point() else value.detach().cpu()
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
    if [name.rpartition(".")[2] for name in wrong] == ["pos_embed"] and wrong[0] in state:
        raise WeightsError(
            f"'{path}' was trained at another image size: it has {len(state[wrong[0]][0])} position embeddings, this "
            f"network {len(own[wrong[0]][0])}; set image_size as in its training"
        )
    if not any(name in own for name in state):
        raise WeightsError(
            f"'{path}' is of another network, not a tensor of it has a name in this one; set model as in its training "
            "(bundles/anovit: 'anovit' or 'l2_cae'), or use the bundle that it was trained with"
        )
    if wrong:
        raise WeightsError(
            f"'{path}' does not fit this network: '{wrong[0]}' and {len(wrong) - 1} other tensors are missing, unknown "
            "or of another shape; set the network's keys as in its training: architecture, image_size, and head_hidden "
            "and detail_width, or model, channels, widths, strides and cae_input"
        )
    network.load_state_dict(state)
    return _stored_digest(state)


def with_weights(network: _Network, path: str | Path) -> _Network:
    """The network after :func:`load_model`, for configurations: whoever asks for the network gets the trained one.

    Raises:
        WeightsError: as :func:`load_model`.
    """
    load_model(path, network)
    return network


def model_digest(path: str | Path) -> str:
    """Digest of a stored model, as :func:`load_model` gives it.

    Raises:
        WeightsError: missing or unreadable file.
    """
    return _stored_digest(load_checkpoint(Path(path)))


def _stored_digest(state: Mapping[str, Any]) -> str:
    return state_digest({name: torch.as_tensor(value) for name, value in state.items()})
