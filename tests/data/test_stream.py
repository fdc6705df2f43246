"""Batches as the evaluation's data set has them, of images that are decoded when they are due."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitad_med.data import stream as module
from vitad_med.data.dataset import CaseDataset
from vitad_med.data.registry import read_cases
from vitad_med.data.stream import CaseStream
from vitad_med.errors import ConfigError


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cached", [False, True])
def test_images_are_those_of_the_evaluation(nih_mini: Path, tmp_path: Path, channels: int, cached: bool) -> None:
    cases = read_cases("nih_chestxray14", nih_mini, "train")[:7]
    stream = CaseStream(cases, 32, 3, channels, tmp_path if cached else None)
    batches = list(stream)
    assert len(stream) == len(batches) == 3
    images = torch.cat([batch["image"] for batch in batches])
    known = CaseDataset(cases, 32, channels=channels)
    assert torch.equal(images, torch.stack([known[number]["image"] for number in range(7)]))
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(7))
    later = next(stream.starting_at(2))
    assert later["index"].tolist() == [6]
    assert torch.equal(later["image"], batches[2]["image"])


def test_only_what_is_due_is_decoded(nih_mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = read_cases("nih_chestxray14", nih_mini, "train")[:6]
    decoded: list[str] = []
    read = module.resized_array

    def counted(part, *arguments):  # type: ignore[no-untyped-def]
        decoded.extend(case.case_id for case in part)
        return read(part, *arguments)

    monkeypatch.setattr(module, "resized_array", counted)
    next(CaseStream(cases, 16, 2).starting_at(1))
    assert decoded == [case.case_id for case in cases[2:4]]


def test_batch_size_is_checked(nih_mini: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        CaseStream(read_cases("nih_chestxray14", nih_mini, "train")[:2], 16, 0)
