"""A folder of DICOM radiographs is a data source like any other."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from scripts.make_dx import make_folder
from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import read_image, read_stored, stored_bits
from vitad_med.data.registry import read_cases
from vitad_med.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def originals(nih_mini: Path) -> list[Case]:
    return read_chestxray14(nih_mini, section="test")[:12]


@pytest.fixture(scope="module")
def folder(originals: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom")
    make_folder(originals, folder / "ward")
    return folder


def test_records_are_those_of_the_data_set_that_was_wrapped(folder: Path, originals: list[Case]) -> None:
    found = {case.image_path.stem: case for case in read_cases("dicom", folder, "test")}
    assert len(found) == 12
    for original in originals:
        case = found[original.case_id]
        assert (case.patient_id, case.sex, case.view) == (original.patient_id, original.sex, original.view)
        assert (case.split, case.label, case.localized) == ("test", 0, False)


def test_pixels_are_those_of_the_picture_but_for_12_bits(folder: Path, originals: list[Case]) -> None:
    cases = {case.image_path.stem: case for case in read_cases("dicom", folder, "test")}
    for original in originals[:4]:
        case = cases[original.case_id]
        assert read_stored(case.image_path).dtype == np.uint16
        assert stored_bits(case.image_path) == 16
        wrapped, picture = read_image(case.image_path), read_image(original.image_path)
        assert wrapped.shape == picture.shape
        np.testing.assert_allclose(wrapped, picture, atol=0.5 / 4095 + 2e-5)
    array = resized_array([cases[case.case_id] for case in originals], 32)
    assert array.shape[:3] == (12, 1, 32)
    assert float(np.asarray(array, dtype=float).std()) > 0


def test_patients_are_held_out_whole(folder: Path) -> None:
    train, val = (read_cases("dicom", folder, part, val_fraction=0.3) for part in ("train", "val"))
    assert {case.split for case in train} == {"train"}
    assert {case.split for case in val} == {"val"}
    assert not {case.patient_id for case in train} & {case.patient_id for case in val}
    assert len(train) + len(val) == 12


def test_what_is_left_out_is_counted(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_folder(read_chestxray14_first(folder), tmp_path)
    (tmp_path / "notes.txt").write_text("JONES^MARY")
    caplog.set_level(logging.WARNING)
    assert len(read_cases("dicom", tmp_path, "all")) == 1
    assert "1 of 2 files are left out: 1 unreadable" in caplog.text
    assert "JONES" not in caplog.text


def test_refusals(folder: Path, nih_mini: Path) -> None:
    with pytest.raises(DataError, match="holds no frontal chest radiograph in DICOM"):
        read_cases("dicom", nih_mini / "images", "test")
    with pytest.raises(ConfigError, match="needs a val_fraction above 0"):
        read_cases("dicom", folder, "val")
    damaged = folder.parent / "damaged.dcm"
    content = next((folder / "ward").iterdir()).read_bytes()
    damaged.write_bytes(content[:-1000])
    with pytest.raises(DataError, match=r"Cannot read image .*damaged\.dcm: its pixels cannot be decoded"):
        read_image(damaged)


def read_chestxray14_first(folder: Path) -> list[Case]:
    """One record of the folder, as if it were of the data set."""
    return read_cases("dicom", folder, "test")[:1]
