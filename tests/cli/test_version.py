"""`vitad-med version` states what this process really has."""

from __future__ import annotations

import importlib.metadata
import json

import pytest
import torch

from vitad_med.cli import main
from vitad_med.cli.version import LIBRARIES, facts


def test_facts_are_those_of_this_process() -> None:
    found = facts()
    assert found["libraries"]["torch"] == importlib.metadata.version("torch")
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert found["devices"][0]["device"] == "cpu"
    assert len(found["devices"]) >= 1 + torch.cuda.device_count()
    assert 0 < found["devices"][0]["memory_gib"] < 1e5
    assert found["devices"][0]["name"]


def test_threads_follow_torch() -> None:
    torch.set_num_threads(1)
    assert facts()["threads"]["torch"] == 1


def test_amp_is_bf16_exactly_where_the_cpu_has_it_natively() -> None:
    cpu = facts()["devices"][0]
    assert cpu["amp"] == ("bf16" if cpu["bf16"] else "fp32")


def test_lines_and_json_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["version"]) == 0
    lines = capsys.readouterr().out
    for name in LIBRARIES:
        assert f"{name} {found['libraries'][name]}" in lines
    assert found["devices"][0]["name"] in lines
    assert f"{found['threads']['cpus']} CPUs" in lines
