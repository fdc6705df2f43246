"""Settings and a study that most tests of the analysis start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.reporting.studies import StudyOnDisk, make_study
from vitad_med.reporting.analysis.settings import ReportSettings


@pytest.fixture
def settings() -> Callable[..., ReportSettings]:
    """Maker of settings with few replicates, by the axes that are named."""

    def make(*by: str, **options: Any) -> ReportSettings:
        axes = tuple(tuple(entry.split(":")) for entry in by or ("sex", "view"))
        return ReportSettings(by=axes, **{"replicates": 200, "permutations": 199, **options})

    return make


@pytest.fixture
def study(tmp_path: Path) -> StudyOnDisk:
    """A small study of its own for each test."""
    return make_study(tmp_path / "run")
