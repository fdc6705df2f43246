"""A made-up study on disk in the documented format, small enough to recompute every figure by other means."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitad_med.predictions.reader import read_predictions
from vitad_med.predictions.records import Predictions

SIDE = 24
KEY = b"a secret of the tests, long enough"


@dataclass
class StudyOnDisk:
    """Rows, boxes and maps of a study; change them, then ``read``.

    Attributes:
        rows: one dict an image, the columns of predictions.csv.
        boxes: image -> (x, y, width, height, finding).
        maps: image -> [SIDE, SIDE].
        pictures: image -> uint8 [SIDE, SIDE].
    """

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    boxes: dict[str, tuple[float, float, float, float, str]] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    def write(self) -> Path:
        (self.folder / "maps").mkdir(parents=True, exist_ok=True)
        (self.folder / "images").mkdir(exist_ok=True)
        for name, values in self.maps.items():
            np.save(self.folder / "maps" / f"{name}.npy", values.astype(np.float32))
        for name, picture in self.pictures.items():
            Image.fromarray(picture).save(self.folder / "images" / f"{name}.png")
        _table(self.folder / "predictions.csv", list(self.rows[0]), [list(row.values()) for row in self.rows])
        header = ["image", "x", "y", "width", "height", "finding"]
        _table(self.folder / "boxes.csv", header, [[name, *box] for name, box in self.boxes.items()])
        return self.folder

    def read(self, **options: Any) -> Predictions:
        return read_predictions(self.write(), eval_size=SIDE, identifier_key=KEY, **options)

    def truth(self, name: str) -> np.ndarray:
        """Pixels whose centres lie in the box, written anew."""
        x, y, width, height, _ = self.boxes[name]
        centres = (np.arange(SIDE) + 0.5) / SIDE
        rows, columns = ((centres >= low) & (centres < low + extent) for low, extent in ((y, height), (x, width)))
        return rows[:, None] & columns[None, :]


def make_study(folder: Path, patients: int = 100, effect: float = 0.5, seed: int = 0) -> StudyOnDisk:
    """Half of the patients have normal images and half boxed ones, one or two images each; maps are higher in boxes."""
    generator = np.random.default_rng(seed)
    study = StudyOnDisk(folder)
    for patient in range(patients):
        abnormal = patient % 2
        for visit in range(1 + patient % 3 % 2):
            name = f"image{patient:03d}_{visit}"
            study.maps[name] = generator.normal(size=(SIDE, SIDE))
            study.pictures[name] = generator.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
            finding = ("Mass", "Effusion")[patient // 4 % 2]
            if abnormal:
                x, y = generator.uniform(0.05, 0.6, 2).round(3)
                study.boxes[name] = (x, y, 0.2 + 0.15 * (patient // 2 % 2), 0.25, finding)
                study.maps[name] = study.maps[name] + effect * study.truth(name)
            study.rows.append(
                {
                    "image": name,
                    "patient": f"patient{patient:03d}",
                    "score": round(float(generator.normal() + abnormal), 6),
                    "label": abnormal,
                    "sex": "MF"[patient // 2 % 2],
                    "view": ("PA", "AP")[visit],
                    "age": 20 + patient % 60,
                    "findings": finding if abnormal else "",
                    "scanner": "ABC"[patient // 2 % 3],
                }
            )
    return study


def _table(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
