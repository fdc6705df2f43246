"""The caption of the picture that people look at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vitad_med.findings.finding import Finding
from vitad_med.findings.overlay import _result


@pytest.mark.parametrize(
    ("changes", "caption"),
    [
        ({}, "FLAGGED, score 0.873457 above 0.61, p = 0.0123"),
        ({"flagged": False, "score": 0.2}, "nothing flagged, score 0.2 not above 0.61, p = 0.0123"),
        ({"flagged": None, "p_value": None}, "not judged, outside of intended use, score 0.873457"),
        ({"flagged": None, "p_value": None, "threshold": None}, "score 0.873457, no threshold"),
    ],
)
def test_the_caption_says_the_result(flagged: Finding, changes, caption: str) -> None:
    assert _result(replace(flagged, **changes), 1) == caption
