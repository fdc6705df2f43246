"""Small test sets with known structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitad_med.data.case import Box, Case


class Study:
    """A synthetic test set: normal and boxed images of men and women, one or two images a patient, with files."""

    def __init__(self, folder: Path, patients: int, size: int = 24, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.size = size
        self.cases: list[Case] = []
        for patient in range(patients):
            abnormal = patient % 2 == 1
            for visit in range(1 + patient % 3 % 2):
                name = f"{patient:04d}_{visit}"
                path = folder / f"{name}.png"
                Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(path)
                corner = rng.uniform(0.05, 0.6, 2)
                box = Box(corner[0], corner[1], 0.3, 0.25, "Mass" if patient % 4 == 1 else "Effusion")
                self.cases.append(
                    Case(
                        name,
                        f"{patient:04d}",
                        path,
                        "nih_chestxray14",
                        "test",
                        int(abnormal),
                        sex="MF"[patient // 2 % 2],
                        view=("PA", "AP")[visit],
                        age=float(20 + patient % 60),
                        findings=(box.finding,) if abnormal else (),
                        boxes=(box,) if abnormal else (),
                    )
                )
        self.localized = [case for case in self.cases if case.localized]
        self.labels = np.array([case.label for case in self.cases])
        self.scores = rng.normal(size=len(self.cases)) + self.labels
        self.maps = rng.normal(size=(len(self.localized), size, size)).astype(np.float32)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """80 patients: 40 with normal and 40 with boxed images."""
    return Study(tmp_path_factory.mktemp("study"), 80)
