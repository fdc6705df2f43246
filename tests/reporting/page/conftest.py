"""The sample report with its rows and pictures."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vitad_med.data.case import Case
from vitad_med.reporting.page import Row, Thumbnail


@pytest.fixture(scope="session")
def sample() -> ModuleType:
    """The module ``sample.py`` beside this file."""
    spec = importlib.util.spec_from_file_location("reporting_sample", Path(__file__).with_name("sample.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report(sample: ModuleType) -> dict[str, Any]:
    return sample.sample_report()


@pytest.fixture(scope="session")
def cases(sample: ModuleType, nih_mini: Path) -> list[Case]:
    return sample.sample_cases(nih_mini)


@pytest.fixture(scope="session")
def rows(sample: ModuleType, cases: list[Case]) -> list[Row]:
    return sample.sample_rows(cases)


@pytest.fixture(scope="session")
def thumbnails(sample: ModuleType, cases: list[Case], rows: Sequence[Row]) -> list[Thumbnail]:
    return sample.sample_thumbnails(cases, rows, 8)
