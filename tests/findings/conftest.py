"""Radiographs of the embedded set as DICOM files, and findings made for them."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset

from scripts.make_dx import make_dx
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import read_image
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.site.key import SiteKey

Write = Callable[..., Path]

TALL = (slice(0, 240), slice(40, 200))
"""A part of the radiographs of 256 px that is not square: 240 rows, 160 columns."""


@pytest.fixture(scope="session")
def radiograph(nih_mini: Path) -> np.ndarray:
    """A real radiograph that is not square, [240, 160] in 0..1."""
    return read_image(read_chestxray14(nih_mini, section="test")[0].image_path)[0][TALL]


@pytest.fixture(scope="session")
def picture(radiograph: np.ndarray) -> np.ndarray:
    """The same in 8 bits."""
    return np.rint(radiograph * 255).astype(np.uint8)


@pytest.fixture
def write(radiograph: np.ndarray, tmp_path: Path) -> Write:
    """Write a DX of the radiograph: options of ``make_dx``, then a function that changes it."""

    def written(
        change: Callable[[FileDataset], Any] | None = None, name: str = "dx.dcm", number: str = "1", **options: Any
    ) -> Path:
        made = make_dx(radiograph, number, **options)
        if change is not None:
            change(made)
        path = tmp_path / name
        made.save_as(path, enforce_file_format=True)
        return path

    return written


def read(made: dict[str, bytes]) -> dict[str, Dataset]:
    """Objects as made, by their kind."""
    return {kind: pydicom.dcmread(io.BytesIO(file)) for kind, file in made.items()}


def hot(rows: slice, columns: slice, grid: tuple[int, int] = (32, 32)) -> np.ndarray:
    """A map that is .9 in a block of its grid and .1 elsewhere."""
    made = np.full(grid, 0.1, dtype=np.float32)
    made[rows, columns] = 0.9
    return made


@pytest.fixture(scope="session")
def flagged() -> Finding:
    """A flagged image, whose map has one block: rows 8 to 12, columns 20 to 26 of 32."""
    return Finding(0.873456789, hot(slice(8, 12), slice(20, 26)), p_value=0.0123, threshold=0.61, flagged=True)


@pytest.fixture(scope="session")
def quiet_image() -> Finding:
    """An image below the threshold, whose map has a block all the same."""
    return Finding(0.2, hot(slice(8, 12), slice(20, 26)), p_value=0.7, threshold=0.61, flagged=False)


@pytest.fixture(scope="session")
def provenance() -> Provenance:
    """A made run."""
    return Provenance(
        method="attn_synth",
        version="0.1.0",
        score_rule="softmax probability of class 1",
        model_digest="a" * 64,
        config_digest="b" * 64,
        calibration_digest="c" * 64,
        software_digest="d" * 64,
        created=datetime(2026, 11, 28, 23, 30, 5, tzinfo=UTC),
    )


@pytest.fixture(scope="session")
def key() -> SiteKey:
    """A key of no site."""
    return SiteKey(bytes(range(32)))
