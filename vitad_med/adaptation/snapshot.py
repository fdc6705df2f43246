"""A model's adapted parameters and their optimizer at one moment, to go back to bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Snapshot:
    """Copy of chosen tensors and of an optimizer's whole state, taken at construction and at every :meth:`take`.

    Tensors are copied in place into memory that is allocated once, so that one snapshot a step costs a copy and nothing
    else. Values alone are kept: the parameters stay the same objects, whatever holds them. Gradients are left alone.

    Args:
        tensors: parameters, or buffers, that updates change; others are not restored.
        optimizer: its state (momentum, moments, step counts) and its groups' options (learning rate) are kept too;
            None if there is none.
    """

    def __init__(self, tensors: Iterable[Tensor], optimizer: Optimizer | None = None) -> None:
        self._live = list(tensors)
        self._optimizer = optimizer
        self._values = [torch.empty_like(tensor) for tensor in self._live]
        self._state: dict[Any, dict[str, Any]] = {}
        self._options: list[dict[str, Any]] = []
        self.take()

    @torch.no_grad()
    def take(self) -> None:
        """Replace the snapshot by what is there now."""
        for kept, live in zip(self._values, self._live, strict=True):
            kept.copy_(live)
        if self._optimizer is None:
            return
        self._state = _copied(self._optimizer.state, self._state)
        self._options = [
            {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}
            for group in self._optimizer.param_groups
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Bring back every value of the last :meth:`take`, bit for bit; as often as wanted."""
        for kept, live in zip(self._values, self._live, strict=True):
            live.copy_(kept)
        if self._optimizer is None:
            return
        restored = _copied(self._state, self._optimizer.state)
        # Cleared first: what did not exist at the snapshot, such as momentum before the first step, must not exist now.
        self._optimizer.state.clear()
        self._optimizer.state.update(restored)
        for group, options in zip(self._optimizer.param_groups, self._options, strict=True):
            group.update(copy.deepcopy(options))

    def state_dict(self) -> dict[str, Any]:
        """The snapshot for a checkpoint: tensors and plain values, in the order of the tensors at construction."""
        state = [self._state.get(tensor, {}) for tensor in self._live]
        return {"values": self._values, "state": state, "options": self._options}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Replace the snapshot by what :meth:`state_dict` gave; the live tensors stay as they are."""
        for kept, stored in zip(self._values, content["values"], strict=True):
            kept.copy_(stored)
        pairs = zip(self._live, content["state"], strict=True)
        # A checkpoint is read on the CPU; momentum belongs beside its parameter.
        placed = {
            tensor: {k: v.to(tensor.device) if isinstance(v, Tensor) else v for k, v in entries.items()}
            for tensor, entries in pairs
            if entries
        }
        self._state = _copied(placed, self._state)
        self._options = copy.deepcopy(content["options"])


def _copied(source: Any, target: Any) -> dict[Any, dict[str, Any]]:
    """Copy of an optimizer's state ``source`` that uses the memory of ``target`` wherever it has the right form."""
    return {
        parameter: {
            name: _copied_value(value, target[parameter].get(name) if parameter in target else None)
            for name, value in entries.items()
        }
        for parameter, entries in source.items()
    }


def _copied_value(value: Any, memory: Any) -> Any:
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    fits = isinstance(memory, Tensor) and (memory.shape, memory.dtype, memory.device) == (
        value.shape,
        value.dtype,
        value.device,
    )
    return memory.copy_(value) if fits else value.detach().clone()
