"""A plain folder of images: what counts as a patient, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitad_med.data.image_folder import read_image_folder
from vitad_med.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg", "p1/x.png", "p1/y.png", "p2/z.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("not an image")
        else:
            Image.fromarray(np.full((8, 8), 100, np.uint8)).save(path)
    return tmp_path


def test_folders_are_patients(folder: Path) -> None:
    cases = read_image_folder(folder)
    assert [case.case_id for case in cases] == ["a", "b", "p1/x", "p1/y", "p2/z"]
    assert [case.patient_id for case in cases] == ["a", "b", "p1", "p1", "p2"]


def test_a_patient_is_on_one_side_of_the_split(folder: Path) -> None:
    kept = read_image_folder(folder, section="train", val_fraction=0.5, split_seed=1)
    held = read_image_folder(folder, section="val", val_fraction=0.5, split_seed=1)
    assert len(kept) + len(held) == 5
    assert {case.patient_id for case in kept}.isdisjoint(case.patient_id for case in held)
    assert {case.split for case in held} == {"val"}


def test_studies_of_a_patient_stay_together_and_hidden_folders_are_left_out(folder: Path) -> None:
    for name in ("p1/study2/w.png", ".trash/v.png"):
        (folder / name).parent.mkdir()
        Image.fromarray(np.full((8, 8), 100, np.uint8)).save(folder / name)
    cases = {case.case_id: case.patient_id for case in read_image_folder(folder)}
    assert cases["p1/study2/w"] == "p1"
    assert not any(name.startswith(".trash") for name in cases)


def test_two_images_of_one_name_are_refused(folder: Path) -> None:
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(folder / "a.jpg")
    with pytest.raises(DataError, match=r"a\.(png|jpg) .*only in their suffix"):
        read_image_folder(folder)


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="holds no PNG"):
        read_image_folder(tmp_path)
    with pytest.raises(ConfigError, match="val_fraction"):
        read_image_folder(tmp_path, section="val")
