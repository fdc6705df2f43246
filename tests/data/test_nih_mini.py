"""The embedded example: complete, small, even, of known files, and really a subset of the set it was chosen from."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitad_med.data import chestxray14_tables as tables
from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import read_image, resize

EIGHT_FINDINGS = {
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
}


@pytest.fixture(scope="module")
def train(nih_mini: Path) -> list[Case]:
    return read_chestxray14(nih_mini, section="train")


@pytest.fixture(scope="module")
def test(nih_mini: Path) -> list[Case]:
    return read_chestxray14(nih_mini, section="test")


def test_counts_and_evenness(train: list[Case], test: list[Case]) -> None:
    cells = [(sex, view) for sex in "FM" for view in ("PA", "AP")]
    for cases, per_cell in (
        (train, 16),
        ([case for case in test if case.label == 0], 4),
        ([case for case in test if case.localized], 8),
    ):
        assert Counter((case.sex, case.view) for case in cases) == dict.fromkeys(cells, per_cell)
    assert {case.label for case in train} == {0}
    assert all(case.localized == (case.label == 1) for case in test)


def test_every_box_label_for_each_sex_and_view(test: list[Case]) -> None:
    found = {(box.finding, case.sex, case.view) for case in test for box in case.boxes}
    assert {finding for finding, _, _ in found} == EIGHT_FINDINGS
    assert len(found) == len(EIGHT_FINDINGS) * 4
    assert all({box.finding for box in case.boxes} <= set(case.findings) for case in test)


def test_ages_reach_from_children_to_89(train: list[Case], test: list[Case]) -> None:
    for cases in (train, [case for case in test if case.label == 0], [case for case in test if case.label == 1]):
        ages = [case.age for case in cases if case.age is not None]
        assert len(ages) == len(cases)
        assert min(ages) < 18
        assert max(ages) >= 80
    assert max(case.age or 0 for case in train) == 89


def test_no_patient_on_both_sides_and_one_image_each(train: list[Case], test: list[Case]) -> None:
    patients = [case.patient_id for case in train + test]
    assert len(set(patients)) == len(patients) == 112
    assert all(case.case_id.startswith(case.patient_id) for case in train + test)


def test_files_are_the_chosen_ones_and_no_other(nih_mini: Path, train: list[Case], test: list[Case]) -> None:
    lines = (nih_mini / "SHA256SUMS").read_text().splitlines()
    digests = dict(reversed(line.split("  ")) for line in lines)
    for name, digest in digests.items():
        assert hashlib.sha256((nih_mini / name).read_bytes()).hexdigest() == digest, name
    images = {file.relative_to(nih_mini).as_posix() for file in (nih_mini / "images").iterdir()}
    assert images == {name for name in digests if name.startswith("images/")}
    assert images == {f"images/{case.case_id}.jpg" for case in train + test}
    assert sum(file.stat().st_size for file in nih_mini.rglob("*") if file.is_file()) <= 5_000_000


def test_images_are_grey_256_px_and_not_constant(train: list[Case], test: list[Case]) -> None:
    for case in train + test:
        with Image.open(case.image_path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (256, 256)), case.case_id
            assert np.asarray(picture).std() > 10, case.case_id


def test_tables_keep_the_published_headers(nih_mini: Path) -> None:
    header = (nih_mini / tables.BOX_TABLE).read_text().splitlines()[0]
    assert header == "Image Index,Finding Label,Bbox [x,y,w,h],,,"
    assert "Infiltrate," in (nih_mini / tables.BOX_TABLE).read_text()
    header = (nih_mini / "Data_Entry_2017_v2020.csv").read_text().splitlines()[0]
    assert header.startswith("Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,")


def test_is_a_subset_of_the_development_set(
    shared_data: Path, nih_mini: Path, train: list[Case], test: list[Case]
) -> None:
    source = shared_data / "nih_cxr14_dev"
    for name in (tables.TRAIN_VAL_LIST, tables.TEST_LIST):
        assert set((nih_mini / name).read_text().split()) <= set((source / name).read_text().split())
    for name in ("Data_Entry_2017_v2020.csv", tables.BOX_TABLE):
        rows = (source / name).read_bytes().splitlines()
        assert set((nih_mini / name).read_bytes().splitlines()) <= set(rows)
    originals = {case.case_id: case for case in read_chestxray14(source)}
    for case in [*train, *test][::8]:
        expected = resize(read_image(originals[case.case_id].image_path), 256)
        assert np.abs(read_image(case.image_path) - expected).mean() < 0.005, case.case_id
