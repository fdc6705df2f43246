"""The ChestX-ray14 reader on small trees in every published layout, and its errors."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitad_med.data.case import Box
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import read_image
from vitad_med.errors import ConfigError, DataError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
# name, labels, patient, age, sex, view, list
ROWS = [
    ("00000001_000", "No Finding", 1, "40", "M", "PA", "train"),
    ("00000001_001", "No Finding", 1, "41", "M", "AP", "train"),
    ("00000001_002", "Mass", 1, "42", "M", "AP", "train"),
    ("00000002_000", "No Finding", 2, "9", "F", "PA", "train"),
    ("00000003_000", "No Finding", 3, "411", "F", "AP", "train"),
    ("00000004_000", "Hernia", 4, "70", "F", "AP", "train"),
    ("00000005_000", "No Finding", 5, "55", "F", "PA", "test"),
    ("00000005_001", "Infiltration|Nodule", 5, "56", "F", "PA", "test"),
    ("00000006_000", "Effusion", 6, "89", "M", "AP", "test"),
]
BOXES = ["00000005_001.png,Infiltrate,256,512.0,128,64.5", "00000005_001.png,Nodule,0,0,10.24,1024"]

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write a tree of real image files; options choose among the published forms."""

    def write(
        *,
        folder: Callable[[int], str] = lambda index: "images",
        suffix: str = ".png",
        size: int = 32,
        table: str = "Data_Entry_2017_v2020.csv",
        row_end: str = "",
        newline: str = "\n",
        zipped: bool = False,
        ages: Callable[[str], str] = str,
        box_end: str = "",
    ) -> Path:
        rng = np.random.default_rng(0)
        for index, row in enumerate(ROWS):
            path = tmp_path / folder(index) / (row[0] + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8)).save(path)
        lines = [HEADER + row_end]
        for name, labels, patient, age, sex, view, _ in ROWS:
            lines.append(f"{name}.png,{labels},0,{patient},{ages(age)},{sex},{view},2500,2048,0.1,0.1{row_end}")
        files = {
            table: lines,
            "BBox_List_2017.csv": [BOX_HEADER, *(box + box_end for box in BOXES)],
            "train_val_list.txt": [f"{row[0]}.png" for row in ROWS if row[-1] == "train"],
            "test_list.txt": [f"{row[0]}.png" for row in ROWS if row[-1] == "test"],
        }
        for name, content in files.items():
            data = (newline.join(content) + newline).encode()
            (tmp_path / (name + ".gz" if zipped else name)).write_bytes(gzip.compress(data) if zipped else data)
        return tmp_path

    return write


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_sections(tree: Tree) -> None:
    root = tree()
    train = read_chestxray14(root, section="train")
    assert [case.case_id for case in train] == ["00000001_000", "00000001_001", "00000002_000", "00000003_000"]
    assert {(case.label, case.split, case.findings, case.boxes) for case in train} == {(0, "train", (), ())}
    test = read_chestxray14(root, section="test")
    assert [(case.case_id, case.label, case.localized) for case in test] == [
        ("00000005_000", 0, False),
        ("00000005_001", 1, True),
        ("00000006_000", 1, False),
    ]
    everything = read_chestxray14(root, section="all")
    assert len(everything) == len(ROWS)
    assert [case for case in everything if case.split == "test"] == test


def test_record(tree: Tree) -> None:
    root = tree()
    case = read_chestxray14(root, section="test")[1]
    assert (case.patient_id, case.sex, case.view, case.age) == ("00000005", "F", "PA", 56.0)
    assert case.findings == ("Infiltration", "Nodule")
    assert case.boxes == (
        Box(0.25, 0.5, 0.125, 64.5 / 1024, "Infiltration"),
        Box(0.0, 0.0, 0.01, 1.0, "Nodule"),
    )
    assert read_image(case.image_path).shape == (1, 32, 32)
    ages = {case.case_id: case.age for case in read_chestxray14(root, section="train")}
    assert ages["00000003_000"] is None  # 411 in the table
    assert ages["00000002_000"] == 9


@pytest.mark.parametrize(
    "form",
    [
        {"folder": lambda index: f"images_{index % 12 + 1:03d}/images"},
        {"table": "Data_Entry_2017.csv", "row_end": ","},
        {"table": "Data_Entry_2017.csv", "ages": lambda age: f"{int(age):03d}Y"},
        {"newline": "\r\n", "box_end": ",,,"},
        {"zipped": True},
        {"suffix": ".jpg", "size": 48},
    ],
    ids=["twelve folders", "trailing comma", "ages with unit", "Windows lines", "gzip", "JPEG copies"],
)
def test_published_forms_give_the_same_records(tree: Tree, form: dict[str, Any]) -> None:
    root = tree(**form)
    cases = read_chestxray14(root)
    assert all(case.image_path.is_file() and case.image_path.stem == case.case_id for case in cases)
    found = [
        (case.case_id, "|".join(case.findings) or "No Finding", int(case.patient_id), case.sex, case.view, case.split)
        for case in cases
    ]
    assert found == [(name, labels, patient, sex, view, side) for name, labels, patient, _, sex, view, side in ROWS]
    assert [case.age for case in cases] == [None if age == "411" else float(age) for *_, age, _, _, _ in ROWS]
    assert [box.finding for case in cases for box in case.boxes] == ["Infiltration", "Nodule"]
    assert {read_image(case.image_path).shape[0] for case in cases} == {1}


def test_units_of_age(tree: Tree) -> None:
    root = tree()
    edit(root / "Data_Entry_2017_v2020.csv", ",2,9,F", ",2,006M,F")
    edit(root / "Data_Entry_2017_v2020.csv", ",1,40,M", ",1,,M")
    ages = {case.case_id: case.age for case in read_chestxray14(root, section="train")}
    assert ages["00000002_000"] == 0.5
    assert ages["00000001_000"] is None


def test_options(tree: Tree) -> None:
    root = tree()
    assert {case.sex for case in read_chestxray14(root, section="train", sex="F")} == {"F"}
    assert [case.case_id for case in read_chestxray14(root, section="train", view="AP", sex="M")] == ["00000001_001"]
    aged = read_chestxray14(root, section="train", age=(9, 40))
    assert [case.age for case in aged] == [40, 9]  # 411 is unknown and left out
    with pytest.raises(DataError, match=r"no patient is left.*age=\(1, 2\)"):
        read_chestxray14(root, section="train", age=(1, 2))


def test_validation_patients_do_not_depend_on_the_cohort(tree: Tree) -> None:
    root = tree()
    for seed in range(4):
        options = {"val_fraction": 0.34, "split_seed": seed}
        train = read_chestxray14(root, section="train", **options)
        val = read_chestxray14(root, section="val", **options)
        assert len({case.patient_id for case in val}) == 1  # a third of three patients with normal images
        assert not {case.patient_id for case in val} & {case.patient_id for case in train}
        assert {case.split for case in val} == {"val"}
        assert len(train) + len(val) == 4
        held = {case.patient_id for case in val}
        women = read_chestxray14(root, section="train", sex="F", **options)
        assert women == [case for case in train if case.sex == "F"]
        whole = read_chestxray14(root, **options)
        assert {case.patient_id for case in whole if case.split == "val"} == held


def test_tables_without_images(tree: Tree) -> None:
    root = tree()
    for file in (root / "images").iterdir():
        file.unlink()
    cases = read_chestxray14(root, require_images=False)
    assert len(cases) == len(ROWS)
    assert cases[0].image_path == root / "images" / "00000001_000.png"


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        read_chestxray14(tmp_path / "absent")
    with pytest.raises(DataError, match="is empty"):
        read_chestxray14(tmp_path)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match=r"has no Data_Entry_2017_v2020\.csv or Data_Entry_2017\.csv"):
        read_chestxray14(tmp_path)


@pytest.mark.parametrize(
    "name", ["Data_Entry_2017_v2020.csv", "BBox_List_2017.csv", "train_val_list.txt", "test_list.txt"]
)
def test_missing_and_empty_tables_are_named(tree: Tree, name: str) -> None:
    root = tree()
    (root / name).write_text("")
    with pytest.raises(DataError, match=name):
        read_chestxray14(root)
    (root / name).unlink()
    with pytest.raises(DataError, match=name):
        read_chestxray14(root)


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("train_val_list.txt", "00000002_000.png", "00000099_000.png", "without a row .*00000099_000"),
        ("test_list.txt", "00000006_000.png", "00000001_001.png", "patients .*in both .*00000001"),
        ("Data_Entry_2017_v2020.csv", "00000002_000.png", "00000001_000.png", "repeated rows.*00000001_000"),
        ("Data_Entry_2017_v2020.csv", "Finding Labels", "Labels", "no column 'Finding Labels'"),
        ("Data_Entry_2017_v2020.csv", ",2,9,F", ",2,nine,F", "line 5 has the age 'nine'"),
        ("Data_Entry_2017_v2020.csv", ",2,9,F", ",,9,F", "line 5 lacks"),
        ("BBox_List_2017.csv", "256,512.0", "256,wide", "line 2 has no number for y"),
        ("BBox_List_2017.csv", "Image Index", "Picture", "no box table"),
    ],
)
def test_contradictions_are_named(tree: Tree, name: str, old: str, new: str, reason: str) -> None:
    root = tree()
    edit(root / name, old, new)
    with pytest.raises(DataError, match=reason):
        read_chestxray14(root)


def test_list_naming_absent_files(tree: Tree) -> None:
    root = tree()
    (root / "images" / "00000002_000.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 4 images of section 'train'.*00000002_000"):
        read_chestxray14(root, section="train")
    assert len(read_chestxray14(root, section="test")) == 3


def test_damaged_gzip(tree: Tree) -> None:
    root = tree(zipped=True)
    table = root / "Data_Entry_2017_v2020.csv.gz"
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"Data_Entry_2017_v2020\.csv\.gz"):
        read_chestxray14(root)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"section": "training"}, "section"),
        ({"sex": "male"}, "sex"),
        ({"view": "LL"}, "view"),
        ({"age": (60, 40)}, "age"),
        ({"val_fraction": 1.5}, "val_fraction"),
        ({"section": "val"}, "val_fraction"),
    ],
)
def test_unknown_options_are_named(tree: Tree, options: dict[str, Any], key: str) -> None:
    root = tree()
    with pytest.raises(ConfigError, match=key):
        read_chestxray14(root, **options)


def test_holding_out_everybody_is_refused(tree: Tree) -> None:
    root = tree()
    with pytest.raises(DataError, match="leaves no patient to train on"):
        read_chestxray14(root, val_fraction=0.99)
