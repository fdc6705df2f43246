"""Choose and write examples/nih_mini from a ChestX-ray14 folder whose lists are patient-disjoint.

    python scripts/make_nih_mini.py ../shared/data/nih_cxr14_dev examples/nih_mini

The choice is deterministic and knows the tables only, never the pixels: one image a patient; 64 training normals and 16
test normals, a quarter each of women PA, women AP, men PA, men AP, with ages as near as possible to evenly spaced ones;
and one boxed image for each combination of the eight box labels, sex and view (32). Rows and lists are copied verbatim.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from vitad_med.data import chestxray14_tables as tables
from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import read_image, resize
from vitad_med.data.intensity import from_unit_range
from vitad_med.errors import DataError

SIDE = 256
JPEG_QUALITY = 95
TRAIN_PER_CELL, TEST_PER_CELL = 16, 4
CELLS = tuple(product(("F", "M"), ("PA", "AP")))
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
)
YOUNGEST, OLDEST = 5.0, 89.0
CHECKSUMS = "SHA256SUMS"


def nearest_in_age(candidates: Iterable[Case], target: float, taken: set[str]) -> Case:
    """The case of a patient not yet taken whose age is nearest to `target`; ties go to the smaller case_id."""
    free = [case for case in candidates if case.patient_id not in taken and case.age is not None]
    if not free:
        raise DataError("The source has too few patients for an even choice; use the full nih_cxr14_dev.")
    return min(free, key=lambda case: (abs(case.age - target), case.case_id))  # type: ignore[operator]


def choose_normals(cases: list[Case], per_cell: int, taken: set[str]) -> list[Case]:
    """`per_cell` normals of each sex and view, ages spread evenly; adds the patients to `taken`."""
    chosen = []
    for sex, view in CELLS:
        candidates = [case for case in cases if (case.label, case.sex, case.view) == (0, sex, view)]
        for target in np.linspace(OLDEST, YOUNGEST, per_cell):
            chosen.append(nearest_in_age(candidates, target, taken))
            taken.add(chosen[-1].patient_id)
    return chosen


def choose_boxed(cases: list[Case], taken: set[str]) -> list[Case]:
    """One boxed image for each finding, sex and view; each cell of sex and view meets each target age once."""
    targets = np.linspace(OLDEST, YOUNGEST, len(FINDINGS))
    chosen = []
    for (row, finding), (column, (sex, view)) in product(enumerate(FINDINGS), enumerate(CELLS)):
        candidates = [
            case
            for case in cases
            if (case.sex, case.view) == (sex, view) and any(box.finding == finding for box in case.boxes)
        ]
        chosen.append(nearest_in_age(candidates, targets[(row + 2 * column) % len(targets)], taken))
        taken.add(chosen[-1].patient_id)
    return chosen


def copy_rows(source: Path, target: Path, stems: set[str], header_lines: int) -> None:
    """Copy the header and the lines whose first field is one of the images, byte for byte."""
    lines = source.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines[header_lines:] if line.split(b",")[0].decode().strip().rsplit(".", 1)[0] in stems]
    target.write_bytes(b"".join(lines[:header_lines] + kept))


def write_example(source: Path, target: Path) -> None:
    """Write images, tables, lists and check sums of the choice to `target`."""
    taken: set[str] = set()
    train = choose_normals(read_chestxray14(source, section="train"), TRAIN_PER_CELL, taken)
    test_cases = read_chestxray14(source, section="test")
    boxed = choose_boxed(test_cases, taken)  # before the test normals: a boxed patient is rarer
    test = boxed + choose_normals(test_cases, TEST_PER_CELL, taken)

    (target / "images").mkdir(parents=True, exist_ok=True)
    for stale in (target / "images").iterdir():
        stale.unlink()
    for case in train + test:
        pixels = from_unit_range(resize(read_image(case.image_path), SIDE), np.uint8)[0]
        picture = Image.fromarray(pixels)
        picture.save(target / "images" / f"{case.case_id}.jpg", quality=JPEG_QUALITY, optimize=True)
    in_train, in_test = ({case.case_id for case in side} for side in (train, test))
    copy_rows(source / tables.ENTRY_TABLES[0], target / tables.ENTRY_TABLES[0], in_train | in_test, 1)
    copy_rows(source / tables.BOX_TABLE, target / tables.BOX_TABLE, in_test, 1)
    copy_rows(source / tables.TRAIN_VAL_LIST, target / tables.TRAIN_VAL_LIST, in_train, 0)
    copy_rows(source / tables.TEST_LIST, target / tables.TEST_LIST, in_test, 0)

    files = sorted(file for file in target.rglob("*") if file.suffix in (".jpg", ".csv", ".txt"))
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(target).as_posix()}" for file in files]
    (target / CHECKSUMS).write_text("\n".join(sums) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder in the official ChestX-ray14 layout")
    parser.add_argument("target", type=Path, help="folder to write; its images are replaced")
    arguments = parser.parse_args()
    write_example(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
