"""Every check finds what it is for in a real tree that was damaged on purpose, and finds nothing in a good one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitad_med.data.checks import check_dataset
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.mvtec import read_mvtec
from vitad_med.data.report import DataReport
from vitad_med.data.splits import split_digest
from vitad_med.errors import ConfigError, DataError


@pytest.fixture
def tree(nih_mini: Path, tmp_path: Path) -> Path:
    """A writable copy of the embedded example, with the checksum file left behind."""
    target = tmp_path / "nih"
    shutil.copytree(nih_mini, target, ignore=shutil.ignore_patterns("SHA256SUMS", "README.md"))
    return target


def codes(report: DataReport) -> dict[str, str]:
    return {problem.code: problem.severity for problem in report.problems}


def items(report: DataReport, code: str) -> tuple[str, ...]:
    return next(problem.items for problem in report.problems if problem.code == code)


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def test_good_tree(nih_mini: Path) -> None:
    report = check_dataset(nih_mini)
    assert report.ok
    assert report.problems == ()
    assert (report.kind, report.decoded) == ("chestxray14", 112)
    assert report.split_sha256 == split_digest(read_chestxray14(nih_mini))
    cells = {(row.split, row.sex, row.view): row for row in report.rows}
    assert len(cells) == 2 * (4 + 1)
    assert (cells["test", "F", "AP"].images, cells["test", "F", "AP"].localized) == (12, 8)
    assert (cells["train", "all", "all"].patients, cells["train", "all", "all"].abnormal) == (64, 0)
    text = report.to_text()
    assert report.split_sha256 in text
    assert "No problem found." in text
    assert json.loads(json.dumps(report.to_dict()))["rows"][0]["images"] == 16


def test_damaged_images(tree: Path) -> None:
    cut, black, flat, missing, twin = sorted((tree / "images").iterdir())[:5]
    cut.write_bytes(cut.read_bytes()[:2000])
    Image.new("L", (256, 256), 0).save(black)
    Image.new("L", (256, 256), 77).save(flat)
    missing.unlink()
    other = read_chestxray14(tree, section="test", require_images=False)[-1].image_path
    shutil.copy(twin, other)
    report = check_dataset(tree)
    assert codes(report) == dict.fromkeys(
        ("missing_file", "unreadable", "all_black", "constant", "repeated_across_splits"), "error"
    )
    assert cut.name in items(report, "unreadable")[0]
    assert items(report, "all_black") == (str(black),)
    assert items(report, "constant") == (str(flat),)
    assert items(report, "missing_file") == (f"{missing.stem}.png",)
    assert items(report, "repeated_across_splits") == (f"{twin} = {other}",)
    assert not report.ok
    assert f"error: images that are all black: 1 ({black})" in report.to_text(width=400)
    assert set(codes(check_dataset(tree, decode=False))) == {"missing_file"}


def test_stray_and_shadowed_files(tree: Path) -> None:
    first = sorted((tree / "images").iterdir())[0]
    Image.open(first).save(first.with_suffix(".png"))
    shutil.copy(first, first.with_name("00009999_000.jpg"))
    report = check_dataset(tree)
    assert codes(report) == {"unlisted_file": "warning", "several_files": "warning", "mixed_formats": "warning"}
    assert items(report, "several_files") == (str(first),)
    assert report.ok


def test_lists(tree: Path) -> None:
    train = (tree / "train_val_list.txt").read_text().split()
    rewrite(tree / "test_list.txt", lambda lines: [*lines, train[0], lines[0], "00008888_000.png"])
    rewrite(tree / "train_val_list.txt", lambda lines: lines[:-1])
    report = check_dataset(tree, decode=False)
    assert codes(report) == {
        "list_without_row": "error",
        "patient_leak": "error",
        "repeated_in_list": "warning",
        "unlisted": "warning",
        "unlisted_file": "warning",
    }
    assert items(report, "patient_leak") == (train[0][:8],)
    assert items(report, "list_without_row") == ("00008888_000",)
    assert items(report, "unlisted") == (train[-1][:-4],)


def test_no_patient_left(tree: Path) -> None:
    boxed = [case.case_id for case in read_chestxray14(tree, section="test") if case.localized]
    rewrite(tree / "train_val_list.txt", lambda lines: [f"{stem}.png" for stem in boxed])
    rewrite(tree / "test_list.txt", lambda lines: [line for line in lines if line[:-4] not in boxed])
    report = check_dataset(tree, decode=False)
    assert codes(report)["no_patient"] == "error"
    assert codes(report)["box_in_training"] == "warning"


def test_rows(tree: Path) -> None:
    table = tree / "Data_Entry_2017_v2020.csv"

    def damage(lines: list[str]) -> list[str]:
        fields = [line.split(",") for line in lines]
        fields[1][4] = "411"
        fields[2][5] = ""
        fields[3][6] = "LL"
        fields[4][4] = ""
        contradiction = [*fields[5]]
        contradiction[1] = "Hernia"
        fields += [contradiction, fields[6]]
        return [",".join(cells) for cells in fields]

    rewrite(table, damage)
    names = [line.split(",")[0] for line in table.read_text().splitlines()]
    report = check_dataset(tree, decode=False)
    assert codes(report) == {
        "duplicate_rows": "error",
        "contradictory_rows": "error",
        "impossible_age": "warning",
        "unknown_sex": "warning",
        "unknown_view": "warning",
        "unknown_age": "warning",
    }
    assert items(report, "impossible_age") == (f"{names[1]}: 411.0",)
    assert items(report, "contradictory_rows") == (names[5],)
    assert set(items(report, "duplicate_rows")) == {names[5], names[6]}


def test_boxes(tree: Path) -> None:
    table = tree / "BBox_List_2017.csv"
    test = read_chestxray14(tree, section="test")
    normal = next(case.case_id for case in test if case.label == 0)
    training = read_chestxray14(tree, section="train")[0].case_id
    first, second, third = [case.case_id for case in test if case.label == 1][:3]
    rewrite(
        table,
        lambda lines: [
            *lines,
            lines[1],
            f"{first}.png,Mass,1100,10,50,50",
            f"{second}.png,Mass,1000,10,50,50",
            f"{third}.png,Mass,10,10,0,50",
            f"{normal}.png,Mass,10,10,50,50",
            f"{training}.png,Mass,10,10,50,50",
            "00007777_000.png,Mass,10,10,50,50",
        ],
    )
    report = check_dataset(tree, decode=False)
    found = codes(report)
    assert found["box_outside"] == found["box_on_normal"] == "error"
    assert {code for code, severity in found.items() if severity == "warning"} == {
        "box_beyond_edge",
        "duplicate_boxes",
        "box_without_row",
        "box_in_training",
        "box_not_in_labels",
    }
    assert items(report, "box_outside") == (f"{first} Mass", f"{third} Mass")
    assert items(report, "box_beyond_edge") == (f"{second} Mass",)
    assert set(items(report, "box_on_normal")) == {f"{normal} Mass", f"{training} Mass"}


def test_structure_errors_are_one_sentence(tree: Path, tmp_path: Path) -> None:
    (tree / "BBox_List_2017.csv").unlink()
    with pytest.raises(DataError, match=r"has no BBox_List_2017\.csv"):
        check_dataset(tree)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(DataError, match="is empty"):
        check_dataset(other)
    (other / "notes.txt").touch()
    with pytest.raises(DataError, match="looks like neither"):
        check_dataset(other)
    with pytest.raises(ConfigError, match="kind"):
        check_dataset(tree, kind="brats")  # type: ignore[arg-type]


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    root = tmp_path / "mvtec"
    for folder in ("train/good", "test/good", "test/bent", "ground_truth/bent"):
        (root / "nut" / folder).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (24, 24), dtype=np.uint8)
            name = f"{index:03d}_mask.png" if folder.startswith("ground") else f"{index:03d}.png"
            if folder.startswith("ground"):
                pixels = np.where(np.arange(24) < 6 + index, 255, 0).astype(np.uint8)[None].repeat(24, axis=0)
            Image.fromarray(pixels).save(root / "nut" / folder / name)
    return root


def test_mvtec(mvtec: Path) -> None:
    report = check_dataset(mvtec)
    assert (report.kind, report.problems, report.decoded) == ("mvtec", (), 12)
    assert [(row.split, row.group, row.normal, row.abnormal, row.localized) for row in report.rows] == [
        ("test", "nut", 4, 4, 4),
        ("train", "nut", 4, 0, 0),
    ]
    assert report.split_sha256 == split_digest(read_mvtec(mvtec))
    assert "nut" in report.to_text()


def test_mvtec_problems(mvtec: Path) -> None:
    truth = mvtec / "nut" / "ground_truth" / "bent"
    (truth / "000_mask.png").rename(truth / "009_mask.png")
    Image.new("L", (24, 24), 0).save(truth / "001_mask.png")
    Image.fromarray(np.eye(30, dtype=np.uint8) * 255).save(truth / "002_mask.png")
    (truth / "003_mask.png").write_bytes(b"no image")
    (mvtec / "nut" / "test" / "good" / "000.png").write_bytes(b"no image")
    report = check_dataset(mvtec)
    assert codes(report) == {
        "missing_mask": "error",
        "unreadable": "error",
        "unreadable_mask": "error",
        "empty_mask": "error",
        "mask_size": "error",
        "orphan_mask": "warning",
    }
    assert items(report, "missing_mask") == (str(mvtec / "nut" / "test" / "bent" / "000.png"),)
    assert items(report, "orphan_mask") == (str(truth / "009_mask.png"),)
    assert items(report, "mask_size") == (str(truth / "002_mask.png"),)
    assert report.problems[-1].severity == "warning"


def test_real_sets(shared_data: Path) -> None:
    report = check_dataset(shared_data / "nih_cxr14_dev", decode=False)
    assert report.problems == ()
    whole = {row.split: (row.images, row.patients, row.localized) for row in report.rows if row.sex == "all"}
    assert whole == {"train": (936, 464, 0), "test": (696, 495, 440)}
    screw = check_dataset(shared_data / "mvtec_384", decode=False)
    assert screw.problems == ()
    assert [(row.normal, row.abnormal) for row in screw.rows] == [(41, 119), (320, 0)]


@pytest.mark.slow
def test_real_images_decode(shared_data: Path) -> None:
    report = check_dataset(shared_data / "nih_cxr14_dev")
    assert report.decoded == 1632
    assert report.ok
    (pair,) = items(report, "repeated_within_split")  # the archive holds this image of one patient twice
    assert [Path(name).stem for name in pair.split(" = ")] == ["00002658_001", "00002658_002"]
