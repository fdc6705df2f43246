"""A table of scores and a folder of maps of anybody's method, read and refused."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitad_med.data.case import UNKNOWN, Box
from vitad_med.data.image_io import resize
from vitad_med.errors import ConfigError, DataError
from vitad_med.predictions.reader import read_predictions

CLEAR = {"identifiers": "clear", "eval_size": 32}


def test_a_foreign_run_is_read(run: Any) -> None:
    found = read_predictions(run.folder, **CLEAR)
    assert [case.case_id for case in found.cases] == ["a", "b", "c", "d"]
    assert [case.patient_id for case in found.cases] == ["p1", "p1", "p2", "p3"]
    assert found.scores.tolist() == [0.25, -0.001, 2.0, 0.5]
    assert [case.label for case in found.cases] == [0, 0, 1, 1]
    assert [case.sex for case in found.cases] == ["M", "M", "F", UNKNOWN]
    assert [case.view for case in found.cases] == ["PA", "PA", "AP", UNKNOWN]
    assert [case.age for case in found.cases] == [62, 62, 0.5, None]
    assert [case.findings for case in found.cases] == [(), (), ("Mass", "Effusion"), ("Mass",)]
    assert [case.columns for case in found.cases] == [(("scanner", v),) for v in ("east", "west", UNKNOWN, "east")]
    assert found.cases[2].boxes == (Box(0.25, 0.5, 0.25, 0.125, "Mass"),)
    assert [case.localized for case in found.cases] == [False, False, True, False]
    assert found.journal.public is False
    assert (found.journal.source, found.journal.method, found.notes) == ("mine", None, ())
    for index in range(4):
        assert found.has_map(index)
        assert found.has_image(index)
        assert np.array_equal(found.map(index), run.maps[index])
        assert np.array_equal(found.image(index), run.pictures[index] / np.float32(255))


def test_score_and_image_are_enough(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("image,score\nx,1\ny,2\n")
    found = read_predictions(tmp_path / "scores.csv", identifiers="clear")
    assert [(case.case_id, case.patient_id, case.label, case.source) for case in found.cases] == [
        ("x", "x", 0, "table"),
        ("y", "y", 0, "table"),
    ]
    assert found.eval_size == 224
    assert not found.has_map(0)
    assert not found.has_image(0)
    assert any("no labels" in note for note in found.notes)
    assert any("2 of 2 images have no map" in note for note in found.notes)
    with pytest.raises(DataError, match="has no map"):
        found.map(0)
    with pytest.raises(DataError, match="no picture"):
        found.image(0)


def test_without_labels_a_box_a_mask_or_a_finding_makes_an_image_abnormal(run: Any) -> None:
    (run.folder / "masks").mkdir()
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(run.folder / "masks" / "b.png")
    run.table("image,score,findings", "a,1,No Finding", "b,1,", "c,1,", "d,1,Mass")
    found = read_predictions(run.folder, **CLEAR)
    assert [case.label for case in found.cases] == [0, 1, 1, 1]
    assert found.cases[1].mask_path == run.folder / "masks" / "b.png"


def test_the_tables_and_folders_may_lie_apart(run: Any, tmp_path: Path) -> None:
    shutil.move(run.folder / "maps", tmp_path / "elsewhere")
    shutil.move(run.folder / "images", tmp_path / "pictures")
    (run.folder / "predictions.csv").rename(run.folder / "ours.csv")
    found = read_predictions(
        run.folder / "ours.csv", maps=tmp_path / "elsewhere", images=tmp_path / "pictures", **CLEAR
    )
    assert np.array_equal(found.map(3), run.maps[3])
    with pytest.raises(DataError, match=r"ours\.csv.*give the one with the scores"):
        read_predictions(run.folder, **CLEAR)
    with pytest.raises(DataError, match=r"folder .*nowhere does not exist"):
        read_predictions(run.folder / "ours.csv", maps=tmp_path / "nowhere", **CLEAR)


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent does not exist"):
        read_predictions(tmp_path / "absent")
    with pytest.raises(DataError, match=r"holds no predictions/predictions\.csv"):
        read_predictions(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(DataError, match="--keep_predictions True"):
        read_predictions(tmp_path)


def test_a_map_of_another_size_is_resized_whole(run: Any) -> None:
    small = np.arange(64, dtype=np.int32).reshape(8, 8)
    np.save(run.folder / "maps" / "a.npy", small)
    found = read_predictions(run.folder, **CLEAR)
    assert found.map(0).dtype == np.float32
    assert np.array_equal(found.map(0), resize(small.astype(np.float32), 32))
    assert read_predictions(run.folder, identifiers="clear", eval_size=16).map(1).shape == (16, 16)


def test_names_with_a_suffix_find_their_files(run: Any) -> None:
    run.table("image,score,label", "a.png,1,0", "b.png,1,0", "c.png,1,1", "d.png,2,1")
    run.boxes("image,x,y,width,height", "c.png,0.25,0.5,0.25,0.125")
    found = read_predictions(run.folder, **CLEAR)
    assert np.array_equal(found.map(3), run.maps[3])
    assert found.cases[2].image_path == run.folder / "images" / "c.png"


def test_files_can_be_named_in_the_table_and_lie_in_folders(run: Any) -> None:
    (run.folder / "maps" / "deep").mkdir()
    (run.folder / "maps" / "d.npy").rename(run.folder / "maps" / "deep" / "4.npy")
    run.table("image,score,label,map,image_file", "a,1,0,,", "b,1,0,,", "c,1,1,,", "d,2,1,deep/4.npy,a.png")
    found = read_predictions(run.folder, **CLEAR)
    assert np.array_equal(found.map(3), run.maps[3])
    assert np.array_equal(found.image(3), found.image(0))
    assert found.notes == ("1 picture files belong to no image of the table and are not used.",)


def test_unused_files_are_counted(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("old1", "old2"):
        np.save(run.folder / "maps" / f"{name}.npy", run.maps[0])
    with caplog.at_level(logging.WARNING):
        found = read_predictions(run.folder, **CLEAR)
    assert found.notes == ("2 map files belong to no image of the table and are not used.",)
    assert caplog.messages == list(found.notes)


def test_the_digest_follows_every_file_and_no_place(run: Any, tmp_path: Path) -> None:
    first = read_predictions(run.folder, **CLEAR).digest
    moved = tmp_path / "moved"
    shutil.copytree(run.folder, moved)
    assert read_predictions(moved, **CLEAR).digest == first
    seen = {first}
    np.save(moved / "maps" / "d.npy", run.maps[0])
    seen.add(read_predictions(moved, **CLEAR).digest)
    Image.fromarray(run.pictures[0]).save(moved / "images" / "d.png")
    seen.add(read_predictions(moved, **CLEAR).digest)
    (moved / "boxes.csv").write_text("image,x,y,width,height\nc,0.25,0.5,0.25,0.25\n")
    seen.add(read_predictions(moved, **CLEAR).digest)
    (moved / "run.json").write_text(json.dumps({"schema": "vitad_med/run/1"}))
    seen.add(read_predictions(moved, **CLEAR).digest)
    assert len(seen) == 5


def test_names_of_patients_need_a_key_unless_they_may_leave_the_site(run: Any) -> None:
    with pytest.raises(ConfigError, match="identifier_key_file"):
        read_predictions(run.folder)
    found = read_predictions(run.folder, identifier_key=b"k" * 16)
    again = read_predictions(run.folder, identifiers="hashed", identifier_key=b"k" * 16)
    assert found.cases == again.cases
    assert found.journal.identifiers == "hashed"
    assert not {"a", "b", "c", "d"} & {case.case_id for case in found.cases}
    assert found.cases[0].patient_id == found.cases[1].patient_id != "p1"
    text = (run.folder / "predictions.csv").read_text()
    (run.folder / "predictions.csv").write_text(text.replace("mine", "nih_chestxray14"))
    public = read_predictions(run.folder)
    assert (public.journal.public, public.journal.identifiers) == (True, "clear")
    with pytest.raises(ConfigError, match="'clear' or 'hashed'"):
        read_predictions(run.folder, identifiers="plain")  # type: ignore[arg-type]


def test_names_that_are_hashed_already_stay(run: Any) -> None:
    (run.folder / "run.json").write_text(
        json.dumps({"schema": "vitad_med/run/1", "public": False, "identifiers": "hashed", "eval_size": 16})
    )
    found = read_predictions(run.folder)
    assert found.cases[0].case_id == "a"
    assert found.eval_size == 16
    with pytest.raises(ConfigError, match="hashed already"):
        read_predictions(run.folder, identifiers="clear")


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_an_impossible_grid_is_refused(run: Any, size: Any) -> None:
    with pytest.raises(ConfigError, match="eval_size"):
        read_predictions(run.folder, identifiers="clear", eval_size=size)


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", ""])
def test_scores_that_are_no_numbers_are_counted_and_can_be_left_out(run: Any, text: str) -> None:
    run.table("image,score,label,patient", "a,1,0,p", f"b,{text},0,p", "c,1,1,q", f"d,{text},1,r")
    with pytest.raises(DataError, match=r"line 3, column 'score': 'b' has a score missing.* 2 of 4 .*--drop-invalid"):
        read_predictions(run.folder, **CLEAR)
    found = read_predictions(run.folder, drop_invalid=True, **CLEAR)
    assert [case.case_id for case in found.cases] == ["a", "c"]
    assert [(e.image, e.patient, e.reason) for e in found.exclusions] == [
        ("b", "p", "score missing, NaN or infinite"),
        ("d", "r", "score missing, NaN or infinite"),
    ]
    assert np.array_equal(found.map(1), run.maps[2])
    assert np.array_equal(found.image(1), run.pictures[2] / np.float32(255))
    hidden = read_predictions(run.folder, drop_invalid=True, identifier_key=b"k" * 16)
    assert not {"b", "d", "p", "r"} & {text for e in hidden.exclusions for text in (e.image, e.patient)}


def test_maps_with_nan_are_refused_or_left_out(run: Any) -> None:
    broken = run.maps[1].copy()
    broken[3, 4] = np.nan
    np.save(run.folder / "maps" / "b.npy", broken)
    np.save(run.folder / "maps" / "d.npy", np.full((32, 32), 1e300))
    with pytest.raises(DataError, match=r"line 3.*'b' has a map with NaN.* 2 of 4 .*--drop-invalid"):
        read_predictions(run.folder, **CLEAR)
    found = read_predictions(run.folder, drop_invalid=True, **CLEAR)
    assert [e.image for e in found.exclusions] == ["b", "d"]
    run.table("image,score", "b,1")
    (run.folder / "boxes.csv").unlink()
    with pytest.raises(DataError, match="every image has"):
        read_predictions(run.folder, drop_invalid=True, **CLEAR)


def test_constant_maps_are_allowed(run: Any) -> None:
    np.save(run.folder / "maps" / "c.npy", np.ones((32, 32)))
    assert read_predictions(run.folder, **CLEAR).map(2).max() == 1


def test_a_localized_image_needs_a_map_where_there_are_maps(run: Any) -> None:
    (run.folder / "maps" / "c.npy").unlink()
    with pytest.raises(DataError, match=r"line 4, column 'image': 'c' has a box or mask but no map .*c\.npy"):
        read_predictions(run.folder, **CLEAR)
    shutil.rmtree(run.folder / "maps")
    assert "4 of 4 images have no map." in read_predictions(run.folder, **CLEAR).notes


def test_a_normal_image_with_a_mask_is_refused(run: Any) -> None:
    (run.folder / "masks").mkdir()
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(run.folder / "masks" / "a.png")
    with pytest.raises(DataError, match=r"line 2.*'a' is labelled normal but has a mask"):
        read_predictions(run.folder, **CLEAR)
