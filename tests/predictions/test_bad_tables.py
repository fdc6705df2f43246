"""Every mistake in a table is told with its file, line, column and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitad_med.data.case import Box, box_mask
from vitad_med.errors import DataError
from vitad_med.predictions.reader import read_predictions

HEADER = "image,score,label,sex,view,age,map,image_file,mask,split"


def read(run: Any) -> Any:
    return read_predictions(run.folder, identifiers="clear", eval_size=32)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], r"predictions\.csv is empty; its first line must name the columns image, score"),
        (["image,score"], r"has a header and no line below it"),
        (["image,anomaly_score", "a,1"], r"no column 'score'; it has image, anomaly_score: rename 'anomaly_score'"),
        (["name,score", "a,1"], r"no column 'image'; it has name, score: add it"),
        (["image,Score", "a,1"], r"column 'Score' must be written 'score'"),
        (["image,score,Sex", "a,1,M"], r"column 'Sex' must be written 'sex'"),
        (["image;score", "a;1"], r"separates its columns by semicolons; save it with commas"),
        (["image\tscore", "a\t1"], r"separates its columns by tabs"),
        (["image,score,score", "a,1,2"], r"2 columns named 'score'; keep one"),
        (["image,,score", "a,1,2"], r"column 2 has no name"),
        (["image,score", "a,1,2"], r"line 2 has 3 cells, the header has 2; .*double quotes"),
        (["image,score", "a"], r"line 2 has 1 cells, the header has 2"),
        (["image,score,", "a,1,x"], r"line 2: the last cell has no column name"),
        (["image,score", '"a,1'], r"line 2 is not CSV"),
        (["image,score", "a,1", "", "b,1", "a,2"], r"line 5, column 'image': 'a' stands in line 2 already"),
        (["image,score", ",1"], r"line 2, column 'image': the image has no name"),
        (["image,score", "a,high"], r"line 2, column 'score': 'high' is no number; write digits"),
        (["image,score", 'a,"0,5"'], r"line 2, column 'score': '0,5' is no number"),
        (["image,score", "a,1_000"], r"'1_000' is no number"),
        (["image,score,label", "a,1,2"], r"line 2, column 'label': '2' is no label; write 0 or normal, 1 or abnormal"),
        (["image,score,label", "a,1,"], r"'' is no label"),
        (["image,score,sex", "a,1,1"], r"line 2, column 'sex': '1' is no sex; write M, F"),
        (["image,score,age", "a,1,62X"], r"line 2, column 'age': '62X' is no age; write years, or a DICOM age"),
        (["image,score,age", "a,1,-3"], r"'-3' is no age"),
        (["image,score,split", "a,1,holdout"], r"line 2, column 'split': 'holdout' is no split"),
        (["image,score,map", "a,1,../b.npy"], r"line 2, column 'map': '\.\./b\.npy' leads out of the folder"),
        (["image,score,map", "a,1,/etc/b.npy"], r"'/etc/b\.npy' leads out of the folder"),
        (["image,score,map", "a,1,C:/b.npy"], r"leads out of the folder"),
        (["image,score,image_file", "a,1,x\\..\\b.png"], r"column 'image_file': .* leads out of the folder"),
        (["image,score", "../../a,1"], r"column 'image': '\.\./\.\./a' leads out of the folder"),
        (["image,score,map", "a,1,aa.npy"], r"has no file 'aa\.npy'; did you mean 'a\.npy'\?"),
        (["image,score,mask", "a,1,a.png"], r"column 'mask': 'a\.png' is named, but there is no folder"),
        (["image,score,Scanner model", "a,1,x"], r"line 1, column 'Scanner model': a further column is a cohort axis"),
        (["image,score,finding", "a,1,x"], r"line 1, column 'finding': the name is reserved"),
        (["image,score,age_band", "a,1,x"], r"the name is reserved"),
    ],
)
def test_a_mistake_in_the_table(run: Any, lines: list[str], message: str) -> None:
    (run.folder / "boxes.csv").unlink()
    run.table(*lines)
    with pytest.raises(DataError, match=message) as caught:
        read(run)
    assert "predictions.csv" in str(caught.value)


def test_a_table_that_is_not_utf8_says_where(run: Any) -> None:
    (run.folder / "boxes.csv").unlink()
    run.table("image,score,site", "a,1,Tours", "b,1,Orléans", encoding="latin-1")
    with pytest.raises(DataError, match=r"line 3 is not UTF-8 \(byte 0xe9\), perhaps Latin-1; save it as 'CSV UTF-8'"):
        read(run)
    run.table("image,score", "a,1", encoding="utf-16")
    with pytest.raises(DataError, match="UTF-16"):
        read(run)


def test_a_byte_order_mark_spaces_and_an_empty_last_column_do_no_harm(run: Any) -> None:
    (run.folder / "boxes.csv").unlink()
    run.table("image, score ,site,", " a ,1,Orléans,", "", "b,2,'=1+1,", encoding="utf-8-sig")
    found = read(run)
    assert [case.case_id for case in found.cases] == ["a", "b"]
    assert [case.columns for case in found.cases] == [(("site", "Orléans"),), (("site", "=1+1"),)]


def test_two_files_of_one_image_are_ambiguous(run: Any) -> None:
    (run.folder / "maps" / "b.nii").write_bytes(b"")
    with pytest.raises(DataError, match=r"both b\.npy and b\.nii .* could belong to 'b'.*column 'map'"):
        read(run)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,Mass,0,0,1,1", r"line 2, column 'image': 'x' is not in the table of predictions; add the image"),
        ("a,Mass,0,0,1,1", r"'a' is labelled normal but has a box; correct the label"),
        ("c,Mass,8,16,8,4", r"column 'x': 8 is above 1, so it looks like pixels; divide x and width"),
        ("c,Mass,0.5,0.5,0.25,96", r"column 'height': 96 is above 1, so it looks like pixels"),
        ("c,Mass,0.5,0.5,0,0.1", r"column 'width': 0 leaves the box without area"),
        ("c,Mass,0.5,0.5,0.1,-0.1", r"column 'height': -0\.1 leaves the box without area"),
        ("c,Mass,0.5,0.5,nan,0.1", r"column 'width': 'nan' is no finite number"),
        ("c,Mass,0.5,0.5,,0.1", r"column 'width': '' is no finite number"),
        ("c,Mass,left,0.5,1,0.1", r"column 'x': 'left' is no number"),
        ("c,Mass,0.8,0.5,0.3,0.1", r"line 2: the box reaches from 0\.8 to 1\.1 in x, outside the image"),
        ("c,Mass,0.5,-0.1,0.3,0.4", r"reaches from -0\.1 to 0\.3 in y, outside the image"),
        ("c,Mass,1.01,0.5,0.01,0.1", r"reaches from 1\.01 to 1\.02 in x, outside the image"),
    ],
)
def test_a_mistake_in_a_box(run: Any, line: str, message: str) -> None:
    run.boxes("image,finding,x,y,width,height", line)
    with pytest.raises(DataError, match=message) as caught:
        read(run)
    assert "boxes.csv, line 2" in str(caught.value)


def test_a_box_table_without_its_columns_is_refused(run: Any) -> None:
    run.boxes("image,x,y,w,h", "c,0,0,1,1")
    with pytest.raises(DataError, match=r"boxes\.csv has no column 'width'; it has image, x, y, w, h"):
        read(run)


def test_a_box_that_passes_the_edge_by_a_pixel_is_cut_there(run: Any) -> None:
    run.boxes("image,x,y,width,height", f"c,{-1 / 32},0.5,0.25,{0.5 + 0.9 / 32}")
    (box,) = read(run).cases[2].boxes
    assert box == Box(0.0, 0.5, 0.25 - 1 / 32, 0.5)
    assert np.array_equal(box_mask((box,), 32, 32)[16:, :7], np.ones((16, 7), bool))
    run.boxes("image,x,y,width,height", f"c,{-1.1 / 32},0.5,0.25,0.5")
    with pytest.raises(DataError, match="outside the image"):
        read(run)


def test_a_box_table_without_boxes_is_fine(run: Any) -> None:
    run.boxes("image,x,y,width,height")
    assert not any(case.boxes for case in read(run).cases)


def test_ages_above_any_are_unknown(run: Any) -> None:
    (run.folder / "boxes.csv").unlink()
    run.table("image,score,age", "a,1,411", "b,1,010D", "c,1,40.5", "d,1,n/a")
    ages = [case.age for case in read(run).cases]
    assert ages[0] is None
    assert ages[1] == pytest.approx(10 / 365.25)
    assert ages[2:] == [40.5, None]


def test_a_table_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv does not exist"):
        read_predictions(tmp_path / "gone.csv")
