"""Millimetres come with their source or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from vitad_med.findings.spacing import Spacing, read_spacing


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, None),
        ({"PixelSpacing": [0.2, 0.1]}, None),
        ({"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "MANUAL"}, None),
        (
            {"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL", "ImagerPixelSpacing": [1, 1]},
            Spacing(0.2, 0.1, "FIDUCIAL"),
        ),
        (
            {"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "GEOMETRY"},
            Spacing(0.2, 0.1, "GEOMETRY"),
        ),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.4]}, Spacing(0.3, 0.4, "DETECTOR")),
        ({"ImagerPixelSpacing": [0, 0.4]}, None),
        ({"ImagerPixelSpacing": [-1, 0.4]}, None),
        ({"ImagerPixelSpacing": None}, None),
        ({"ImagerPixelSpacing": 0.4}, None),
    ],
)
def test_each_spacing_and_its_source(elements: dict[str, Any], expected: Spacing | None) -> None:
    header = Dataset()
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    assert read_spacing(header) == expected
