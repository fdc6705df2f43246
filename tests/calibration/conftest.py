"""Simulated studies: patients with one to four images, scores that share a patient's own level."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitad_med.calibration import Calibration, build_calibration
from vitad_med.calibration.intensity import QUANTITIES
from vitad_med.data.case import Case

DIGESTS = {"model_digest": "a" * 64, "pipeline_digest": "b" * 64, "backend_digest": "c" * 64, "data_digest": "d" * 64}

Study = tuple[list[Case], np.ndarray, dict[str, np.ndarray]]


def simulate(patients: int, seed: int, abnormal: int = 0, shift: float = 0.0, source: str = "table") -> Study:
    """Cases, scores, intensities; abnormal patients' scores lie 1.5 higher; ``shift`` moves scores and intensities."""
    generator = np.random.default_rng(seed)
    cases, scores, intensities = [], [], []
    for patient in range(patients + abnormal):
        label = int(patient >= patients)
        level = generator.normal()
        for image in range(int(generator.integers(1, 5))):
            name = f"{seed}_{patient:05d}_{image}"
            cases.append(
                Case(
                    name,
                    f"{seed}_{patient:05d}",
                    Path(f"{name}.png"),
                    source,
                    "test",
                    label,
                    sex="MF"[patient % 2],
                    view=("PA", "AP")[image % 2],
                )
            )
            scores.append(level + 0.5 * generator.normal() + 1.5 * label + shift)
            intensities.append(0.5 + 0.1 * level + 0.02 * generator.normal(size=len(QUANTITIES)) + 0.2 * shift)
    return cases, np.array(scores), dict(zip(QUANTITIES, np.array(intensities).T, strict=True))


@pytest.fixture(scope="session")
def study() -> Callable[..., Study]:
    return simulate


@pytest.fixture(scope="session")
def digests() -> dict[str, str]:
    return dict(DIGESTS)


@pytest.fixture(scope="session")
def calibration() -> Calibration:
    """Of 100 patients, 30 of them held out for the check."""
    return build_calibration(*simulate(100, 1), DIGESTS, seed=3, method="attn_synth", created="2026-11-25T13:00:00Z")


@pytest.fixture(scope="session")
def calibrate(digests: dict[str, str]) -> Callable[..., Calibration]:
    def build(*arguments: Any, **options: Any) -> Calibration:
        return build_calibration(*arguments, options.pop("digests", digests), **options)

    return build
