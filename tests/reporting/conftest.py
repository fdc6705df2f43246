"""Sample reports that the tests of their documents and texts share."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def samples() -> dict[str, Callable[[], dict[str, Any]]]:
    """Builders of sample reports by name; each call gives a report of its own."""
    module = runpy.run_path(str(Path(__file__).with_name("sample_report.py")))
    names = {"full": "sample_report", "unlocalized": "without_localization", "suppressed": "suppressed"}
    return {name: module[function] for name, function in names.items()}
