"""What the bundle of the experiment tests does: arithmetic that takes no time, unless it is told to wait."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

from vitad_med.checkpoint import atomic_path
from vitad_med.errors import DataError


def train(output_dir: str, seed: int, rate: float, steps: int, wait: float, fault: str) -> None:
    """Sum seeded numbers step by step; goes on from its own checkpoint. ``calls.txt`` counts the starts."""
    folder = Path(output_dir)
    _count(folder)
    if fault == "data":
        raise DataError("image '/home/somebody/ward_7/0001.png' is black: remove it")
    if fault == "defect":
        raise RuntimeError("index out of range")
    checkpoint = folder / "checkpoint.json"
    state = json.loads(checkpoint.read_text()) if checkpoint.is_file() else {"step": 0, "sum": 0.0}
    for step in range(state["step"], steps):
        state = {"step": step + 1, "sum": state["sum"] + random.Random(f"{seed} {step}").random()}
        with atomic_path(checkpoint) as temporary:
            temporary.write_text(json.dumps(state))
        print("step", step)
        time.sleep(wait)
    (folder / "model.json").write_text(json.dumps({"value": rate + state["sum"] / steps}))


def evaluate(output_dir: str, weights: str, scale: float, category: int | None) -> None:
    """Write the model's number, a tenth higher with each category, as figures, one of which is null with its reason."""
    _count(Path(output_dir))
    value = json.loads(Path(weights).read_text())["value"] * scale + (category or 0) / 10
    metrics: dict[str, Any] = {
        "cohorts": {
            "all": {"metrics": {"auroc": {"value": value, "reason": None}}},
            "sex=F": {"metrics": {"auroc": {"value": None, "reason": "too few patients"}}},
        },
        "list": [0.25, "text"],
    }
    (Path(output_dir) / "metrics.json").write_text(json.dumps(metrics))


def _count(folder: Path) -> None:
    with (folder / "calls.txt").open("a") as file:
        file.write("x")
