"""Seconds in words."""

from __future__ import annotations

import pytest

from vitad_med.durations import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (600, "10 min"), (5399, "1 h 30 min"), (7260, "2 h 01 min")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
