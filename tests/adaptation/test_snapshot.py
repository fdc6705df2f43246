"""Snapshots bring back every bit of parameters and optimizer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitad_med.adaptation.snapshot import Snapshot


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 2))


def update(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(6, 5, generator=generator)).square().sum().backward()
        optimizer.step()


def optimizer_of(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("steps_before", [0, 3])
def test_restore_is_bit_exact_and_the_future_repeats(kind: str, steps_before: int) -> None:
    model = network()
    optimizer = optimizer_of(kind, model)
    update(model, optimizer, steps_before)
    snapshot = Snapshot(model.parameters(), optimizer)
    before = everything(model, optimizer)
    update(model, optimizer, 4, seed=1)
    after = everything(model, optimizer)
    assert not same(before, after)
    for _ in range(2):
        snapshot.restore()
        assert same(everything(model, optimizer), before)
        update(model, optimizer, 4, seed=1)
        assert same(everything(model, optimizer), after)


def test_state_that_did_not_exist_is_gone() -> None:
    model = network()
    optimizer = optimizer_of("sgd", model)
    snapshot = Snapshot(model.parameters(), optimizer)
    update(model, optimizer, 1)
    snapshot.restore()
    assert len(optimizer.state) == 0


def test_a_later_take_replaces_the_snapshot_in_the_same_memory() -> None:
    model = network()
    optimizer = optimizer_of("sgd", model)
    update(model, optimizer, 1)
    snapshot = Snapshot(model.parameters(), optimizer)
    memory = [tensor.data_ptr() for tensor in snapshot._values]
    memory += [entry["momentum_buffer"].data_ptr() for entry in snapshot._state.values()]
    live = [entry["momentum_buffer"].data_ptr() for entry in optimizer.state.values()]
    update(model, optimizer, 1)
    snapshot.take()
    taken = everything(model, optimizer)
    update(model, optimizer, 1)
    snapshot.restore()
    assert same(everything(model, optimizer), taken)
    now = [tensor.data_ptr() for tensor in snapshot._values]
    assert now + [entry["momentum_buffer"].data_ptr() for entry in snapshot._state.values()] == memory
    assert [entry["momentum_buffer"].data_ptr() for entry in optimizer.state.values()] == live


def test_values_that_are_not_finite_are_undone() -> None:
    model = network()
    optimizer = optimizer_of("sgd", model)
    update(model, optimizer, 2)
    snapshot = Snapshot(model.parameters(), optimizer)
    before = everything(model, optimizer)
    (model(torch.ones(1, 5)).sum() * torch.nan).backward()
    optimizer.step()
    assert not all(bool(value.isfinite().all()) for value in model.parameters())
    snapshot.restore()
    assert same(everything(model, optimizer), before)


def test_only_the_chosen_parameters_and_the_learning_rate_go_back() -> None:
    model = network()
    optimizer = optimizer_of("sgd", model)
    chosen = [parameter for name, parameter in model.named_parameters() if name.startswith("1.")]
    snapshot = Snapshot(chosen, optimizer)
    before = copy.deepcopy(model.state_dict())
    optimizer.param_groups[0]["lr"] = 0.5
    update(model, optimizer, 1)
    snapshot.restore()
    assert optimizer.param_groups[0]["lr"] == 1e-2
    assert [torch.equal(value, before[name]) for name, value in model.state_dict().items()] == [False] * 2 + [
        True,
        True,
    ] + [False] * 2


def test_without_an_optimizer_the_parameters_alone_go_back() -> None:
    weight = nn.Parameter(torch.ones(3))
    snapshot = Snapshot([weight])
    with torch.no_grad():
        weight.fill_(7)
    snapshot.restore()
    assert torch.equal(weight, torch.ones(3))
