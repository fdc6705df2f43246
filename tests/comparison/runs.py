"""Runs on disk in the documented format, with known structure: who is where, and how good the maps are."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np


def write_run(
    folder: Path,
    *,
    method: str = "a",
    quality: float = 0.0,
    patients: int = 120,
    size: int = 16,
    public: bool = True,
    journal: dict[str, Any] | None = None,
    findings: tuple[str, ...] = ("Mass",),
    seed: int = 7,
) -> list[dict[str, Any]]:
    """Write one image or two of each patient, half of them abnormal with one box; return the rows of the table.

    Images, labels, boxes and noise are the same in every call: runs of another ``quality`` differ by how much higher
    the map is inside the box, and by how much the score of abnormal images.
    """
    rng = np.random.default_rng(seed)
    (folder / "maps").mkdir(parents=True)
    rows, boxes = [], []
    for patient in range(patients):
        label = patient % 2
        finding = findings[patient // 2 % len(findings)]
        for visit in range(1 + patient % 3 % 2):
            name = f"{patient:04d}_{visit}"
            x, y = np.round(rng.uniform(0, 0.6, 2), 6)
            noise = rng.normal(size=(size, size))
            score = rng.normal() + (0.5 + quality) * label
            if label:
                boxes.append({"image": name, "finding": finding, "x": x, "y": y, "width": 0.4, "height": 0.4})
                grid = (np.arange(size) + 0.5) / size
                inside = np.outer((grid >= y) & (grid < y + 0.4), (grid >= x) & (grid < x + 0.4))
                noise = noise + quality * inside
            np.save(folder / "maps" / f"{name}.npy", noise.astype(np.float32))
            rows.append(
                {
                    "image": name,
                    "score": repr(float(score)),
                    "patient": f"{patient:04d}",
                    "label": label,
                    "sex": "MF"[patient // 2 % 2],
                    "view": ("PA", "AP")[visit],
                    "findings": finding if label else "",
                    "source": "nih_chestxray14" if public else "ward_7",
                }
            )
    write_table(folder / "predictions.csv", rows)
    write_table(folder / "boxes.csv", boxes)
    content = {"schema": "vitad_med/run/1", "method": method, "public": public, "eval_size": size}
    content["identifiers"] = "clear" if public else "hashed"
    (folder / "run.json").write_text(json.dumps(content | (journal or {})))
    return rows


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
