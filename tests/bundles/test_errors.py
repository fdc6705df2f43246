"""Which exceptions count as the user's, and what is said of them."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vitad_med.bundles import plain_errors, user_error
from vitad_med.bundles.errors import is_bundle_program, sentence
from vitad_med.errors import ConfigError, DataError


class Unreadable(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        raise DataError("image 'a: b.png' is truncated: copy it again")


def fail_in_a_chain() -> None:
    try:
        try:
            raise ConfigError("wrong key")
        except ConfigError as error:
            raise ValueError("level 1") from error
    except ValueError as error:
        raise RuntimeError("level 2") from error


def fail_while_handling() -> None:
    try:
        raise ConfigError("handled")
    except ConfigError:
        _ = 1 / 0


def test_the_cause_is_found_through_a_chain() -> None:
    with pytest.raises(ConfigError, match="wrong key"), plain_errors():
        fail_in_a_chain()


def test_a_fault_while_handling_a_user_error_is_not_the_users() -> None:
    with pytest.raises(ZeroDivisionError) as caught, plain_errors():
        fail_while_handling()
    assert user_error(caught.value) is None


def test_a_cycle_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert user_error(first) is None


def test_the_message_of_a_loader_worker_is_one_sentence() -> None:
    with pytest.raises(DataError) as caught:
        next(iter(DataLoader(Unreadable(), num_workers=1)))
    assert "Traceback" in str(caught.value)
    assert sentence(caught.value) == "image 'a: b.png' is truncated: copy it again"


def test_a_test_runner_is_not_the_bundle_program() -> None:
    assert not is_bundle_program()
