"""Two thousand damaged files of every encoding through the whole run: each has a row, and none stops it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from scripts.make_dx import make_dx
from tests.data.dicom.encodings import LOSSLESS, encode
from tests.data.dicom.test_mutations import mutated
from vitad_med.scoring.rows import Row
from vitad_med.scoring.run import Scored

CANARY = "CANARY"


def damage(folder: Path, count: int) -> None:
    """Small radiographs with UIDs of their own, each changed, cut or overwritten somewhere."""
    image = np.kron(np.random.default_rng(0).random((8, 8)), np.ones((16, 16)))
    draw = random.Random(1)
    folder.mkdir()
    number = 0
    for syntax in LOSSLESS:
        for bits in (8, 12):
            path = folder / "original.dcm"
            place = "7" * 9
            make_dx(image, place, bits=bits, patient=CANARY, age="050Y").save_as(path, enforce_file_format=True)
            encode(path, syntax)
            content = path.read_bytes()
            path.unlink()
            for _ in range(count // (2 * len(LOSSLESS)) + 1):
                own = content.replace(place.encode(), f"{100_000_000 + number}".encode())
                (folder / f"{number:05d}.dcm").write_bytes(mutated(own, draw))
                number += 1
                if number == count:
                    return


def regions(scored: Scored, row: Row) -> int:
    """Regions that the structured report of an image outlines, none where there is no report."""
    path = scored.out / "dicom" / "sr" / f"{row.image}.dcm"
    if not path.exists():
        return 0
    report = pydicom.dcmread(path)
    return sum((element.keyword, element.value) == ("GraphicType", "POLYLINE") for element in report.iterall())


def check(scored: Scored, count: int, outputs: tuple[str, ...]) -> None:
    assert len(scored.rows) == count
    images = [row for row in scored.rows if row.score is not None]
    for row in scored.rows:
        assert (row.score is None) == bool(row.set_aside)
        assert row.score is not None or row.detail
        assert CANARY not in row.detail
    for row in images:
        for kind in outputs:
            missing = not (scored.out / "dicom" / kind / f"{row.image}.dcm").exists()
            noted = f"no_{kind}" in row.notes or "outputs_lost" in row.notes
            nothing_to_show = kind == "gsps" and not regions(scored, row)
            assert missing == noted or (missing and nothing_to_show)
    assert len(images) > count // 10
    for path in scored.objects()[:: max(1, len(images) // 20)]:
        assert pydicom.dcmread(path).SOPInstanceUID.startswith("2.25.")


def test_sixty_damaged_files(score: Callable[..., Scored], tmp_path: Path) -> None:
    damage(tmp_path / "damaged", 60)
    scored = score(source=tmp_path / "damaged", outputs=("worklist", "sc", "sr"), batch_size=16)
    check(scored, 60, ("sc", "sr"))


@pytest.mark.slow
def test_two_thousand_damaged_files(score: Callable[..., Scored], tmp_path: Path) -> None:
    damage(tmp_path / "damaged", 2000)
    kinds = ("sc", "sr", "gsps")
    scored = score(source=tmp_path / "damaged", outputs=("worklist", "report", *kinds), workers=2, batch_size=16)
    check(scored, 2000, kinds)
    reasons = {row.set_aside for row in scored.rows}
    assert {"", "unreadable", "truncated", "pixels"} <= reasons
