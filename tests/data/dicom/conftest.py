"""DICOM files made of the embedded radiographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from scripts.make_dx import make_dx
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import read_image

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def radiograph(nih_mini: Path) -> np.ndarray:
    """A real radiograph, [256, 256] in 0..1."""
    return read_image(read_chestxray14(nih_mini, section="test")[0].image_path)[0]


@pytest.fixture
def write(radiograph: np.ndarray, tmp_path: Path) -> Write:
    """Write a DX of the radiograph below ``tmp_path``: options of ``make_dx``, then a function that changes it."""

    def written(
        name: str = "dx.dcm", change: Callable[[FileDataset], Any] | None = None, number: str = "1", **options: Any
    ) -> Path:
        made = make_dx(options.pop("image", radiograph), number, **options)
        if change is not None:
            change(made)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save_as(path, enforce_file_format=True)
        return path

    return written
