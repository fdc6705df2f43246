"""Factories that bundle configs call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitad_med.engines.setup import cases, training_cases, validation_cases
from vitad_med.errors import DataError


def test_the_sections_of_an_evaluation_are_those_of_the_training(nih_mini: Path) -> None:
    split = (0.2, 3, {})
    assert cases("nih_chestxray14", str(nih_mini), "train", *split) == training_cases(
        "nih_chestxray14", str(nih_mini), *split
    )
    assert cases("nih_chestxray14", str(nih_mini), "val", *split) == validation_cases(
        "nih_chestxray14", str(nih_mini), *split
    )
    assert validation_cases("nih_chestxray14", str(nih_mini), 0.0, 3, {}) == []


def test_a_test_section_needs_nobody_to_hold_out(tmp_path: Path) -> None:
    for name in ("train/good/0.png", "test/good/0.png"):
        path = tmp_path / "screw" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
    options = {"category": "screw"}
    assert len(cases("mvtec", str(tmp_path), "test", 0.1, 0, options)) == 1
    with pytest.raises(DataError, match="leaves no patient to train on"):
        cases("mvtec", str(tmp_path), "train", 0.1, 0, options)
