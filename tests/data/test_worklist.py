"""Every file of a folder, a DICOMDIR or a list is accounted for."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet

from scripts.make_dx import make_folder
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.dicom.intended_use import IntendedUse
from vitad_med.data.dicom.triage import Aside
from vitad_med.data.worklist import CHUNK, Item, build_worklist
from vitad_med.errors import DataError

CHEST = IntendedUse(("CR", "DX"), ("PA", "AP"), 18, None)


@pytest.fixture
def ward(nih_mini: Path, tmp_path: Path) -> Path:
    """Six radiographs in two folders."""
    cases = read_chestxray14(nih_mini, section="test")[:6]
    make_folder(cases[:3], tmp_path / "ward" / "JONES^MARY")
    make_folder(cases[3:], tmp_path / "ward" / "b")
    for number, path in enumerate(sorted((tmp_path / "ward" / "b").iterdir()), start=10):
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number}"
        dataset.save_as(path)
    return tmp_path / "ward"


def by_name(items: list[Item]) -> dict[str, Item]:
    return {item.name: item for item in items}


def test_a_folder_and_all_in_it_sorted(ward: Path, nih_mini: Path) -> None:
    items = build_worklist(ward, CHEST)
    assert [item.name for item in items] == sorted(path.relative_to(ward).as_posix() for path in ward.rglob("*.dcm"))
    assert len(items) == 6
    known = {case.case_id: case for case in read_chestxray14(nih_mini, section="test")}
    for item in items:
        original = known[item.path.stem]
        assert item.case is not None
        assert (item.case.sex, item.case.view, item.case.patient_id) == (
            original.sex,
            original.view,
            original.patient_id,
        )
        assert item.case.age == int(original.age or 0)
        assert item.case.source == "dicom"
        assert item.case.columns == (("manufacturer", "unknown"), ("modality", "DX"))
        assert item.outside == (() if item.case.age >= 18 else ("age",))


def test_copies_and_conflicts_are_told_apart(ward: Path) -> None:
    first = min((ward / "JONES^MARY").iterdir())
    shutil.copy(first, ward / "z_copy.dcm")
    other = pydicom.dcmread(first)
    other.PatientSex = "M" if other.PatientSex == "F" else "F"
    other.save_as(ward / "z_other.dcm")
    items = by_name(build_worklist(ward, CHEST))
    assert items[f"JONES^MARY/{first.name}"].case is not None
    assert items["z_copy.dcm"].verdict.aside == Aside.DUPLICATE
    assert items["z_other.dcm"].verdict.aside == Aside.UID_CONFLICT
    assert items["z_other.dcm"].case is None
    # The first in the order of paths is scored, whichever it is.
    shutil.copy(ward / "z_other.dcm", ward / "A.dcm")
    items = by_name(build_worklist(ward, CHEST))
    assert items["A.dcm"].case is not None
    assert items[f"JONES^MARY/{first.name}"].verdict.aside == Aside.UID_CONFLICT
    assert items["z_other.dcm"].verdict.aside == Aside.DUPLICATE


def test_what_cannot_be_read_is_listed(ward: Path) -> None:
    (ward / "notes.txt").write_text("call back")
    (ward / "empty.dcm").write_bytes(b"")
    (ward / "gone.dcm").symlink_to(ward / "nowhere.dcm")
    (ward / "loop").symlink_to(ward)
    items = by_name(build_worklist(ward, CHEST))
    assert len(items) == 10
    for name in ("notes.txt", "empty.dcm", "gone.dcm", "loop"):
        assert items[name].verdict.aside == Aside.UNREADABLE, name
        assert items[name].verdict.detail
    assert "not followed" in items["loop"].verdict.detail


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_closed_folder_is_listed(ward: Path) -> None:
    (ward / "b").chmod(0)
    try:
        assert by_name(build_worklist(ward, CHEST))["b"].verdict.aside == Aside.UNREADABLE
    finally:
        (ward / "b").chmod(0o755)


def test_a_dicomdir_names_its_files(ward: Path, tmp_path: Path) -> None:
    made = FileSet()
    for path in sorted(ward.rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "120000", "1"
        made.add(dataset)
    made.write(tmp_path / "disc")
    expected = [item.case.case_id for item in build_worklist(ward, CHEST) if item.case]
    items = build_worklist(tmp_path / "disc" / "DICOMDIR", CHEST)
    assert sorted(item.case.case_id for item in items if item.case) == sorted(expected)
    # As a folder the DICOMDIR itself is one more file.
    listed = by_name(build_worklist(tmp_path / "disc", CHEST))
    assert listed["DICOMDIR"].verdict.aside == Aside.NOT_AN_IMAGE
    assert len(listed) == 7


def test_a_list_names_files_beside_itself(ward: Path) -> None:
    names = sorted(path.relative_to(ward).as_posix() for path in ward.rglob("*.dcm"))
    (ward / "list.txt").write_text("\n".join([names[1], "", names[0], names[1], "absent.dcm"]))
    items = build_worklist(ward / "list.txt", CHEST)
    assert [item.name for item in items] == sorted([names[0], names[1], "absent.dcm"])
    assert by_name(items)["absent.dcm"].verdict.aside == Aside.UNREADABLE


def test_pictures_say_nothing_of_their_patient(nih_mini: Path) -> None:
    items = build_worklist(nih_mini / "images", CHEST)
    assert all(item.case is not None for item in items)
    assert {item.outside for item in items} == {("modality_unknown", "view_unknown", "age_unknown")}


def test_an_executor_changes_nothing(ward: Path, nih_mini: Path) -> None:
    for number, path in enumerate(sorted((nih_mini / "images").iterdir()) * 2):  # more than two chunks
        shutil.copy(path, ward / f"{number:03d}.png")
    shutil.copy(min((ward / "JONES^MARY").iterdir()), ward / "z_copy.dcm")
    here = build_worklist(ward, CHEST)
    assert len(here) > 2 * CHUNK
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert build_worklist(ward, CHEST, processes) == here
    with ThreadPoolExecutor(4) as threads:
        assert build_worklist(ward, CHEST, threads) == here


def test_an_item_is_small(ward: Path) -> None:
    """Twenty thousand files stay below 30 MB; what is shared is kept once."""
    dataset = pydicom.dcmread(min((ward / "b").iterdir()))
    for number in range(60):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.{10**36 + number}"
        dataset.save_as(ward / f"{number:05d}.dcm")
    build_worklist(ward / "b", CHEST)  # what is kept once for all
    gc.collect()
    tracemalloc.start()
    items = build_worklist(ward, CHEST)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] / len(items)
    tracemalloc.stop()
    assert sum(item.case is not None for item in items) == 66
    assert size < 1500


def test_sources_that_are_none_are_refused(ward: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        build_worklist(tmp_path / "nothing", CHEST)
    with pytest.raises(DataError, match="does not exist; give a folder, a DICOMDIR"):
        build_worklist(tmp_path / "absent", CHEST)
    with pytest.raises(DataError, match="no DICOMDIR; give the folder that it lies in"):
        build_worklist(min((ward / "b").iterdir()), CHEST)
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="neither a DICOMDIR nor a text file"):
        build_worklist(tmp_path / "binary", CHEST)


def test_the_shared_files(shared_data: Path, repo_root: Path) -> None:
    metadata = json.loads((repo_root / "bundles" / "attn_synth" / "configs" / "metadata.json").read_text())
    items = by_name(build_worklist(shared_data / "dicom", IntendedUse.of_metadata(metadata)))
    asides = {name.split(".")[0]: item.verdict.aside for name, item in items.items()}
    assert asides == {
        "1": None,
        "Fake_MONOHR1": Aside.UID_CONFLICT,
        "RG1_J2KI": None,
        "RG3_J2KI": Aside.BODY_PART,
        "gdcm-CR-MONO1-10-chest": None,
    }
