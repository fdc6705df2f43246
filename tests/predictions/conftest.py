"""A small foreign run on disk that tests damage in one place at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 32


class Run:
    """Four images of three patients: two normal, a boxed one, an abnormal one without a box; files beside the table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        self.maps = rng.random((4, SIDE, SIDE)).astype(np.float32)
        self.pictures = rng.integers(0, 256, (4, SIDE, SIDE), dtype=np.uint8)
        (folder / "maps").mkdir(parents=True)
        (folder / "images").mkdir()
        for name, anomaly_map, picture in zip("abcd", self.maps, self.pictures, strict=True):
            np.save(folder / "maps" / f"{name}.npy", anomaly_map)
            Image.fromarray(picture).save(folder / "images" / f"{name}.png")
        self.table(
            "image,patient,score,label,sex,view,age,findings,source,scanner",
            "a,p1,0.25,normal,M,PA,62,No Finding,mine,east",
            "b,p1,-1e-3,0,male,pa,062Y,,mine,west",
            "c,p2,2,1,female,AP,006M,Mass|Effusion,mine,",
            "d,p3,0.5,abnormal,,,,Mass,mine,east",
        )
        self.boxes("image,finding,x,y,width,height", "c,Mass,0.25,0.5,0.25,0.125")

    def table(self, *lines: str, encoding: str = "utf-8") -> None:
        """Write predictions.csv."""
        (self.folder / "predictions.csv").write_text("\n".join(lines) + "\n", encoding=encoding)

    def boxes(self, *lines: str) -> None:
        """Write boxes.csv."""
        (self.folder / "boxes.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")
