"""The MVTec AD reader on small trees with real image files, and on the real screw category."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitad_med.data.image_io import read_image
from vitad_med.data.mvtec import read_mvtec
from vitad_med.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two categories: grey ``nut`` (40 px), colour ``wire`` (30 x 50 px)."""
    rng = np.random.default_rng(0)
    for category, shape in (("nut", (40, 40)), ("wire", (30, 50, 3))):
        for folder, count in (("train/good", 5), ("test/good", 2), ("test/bent", 2), ("test/cut", 1)):
            directory = tmp_path / category / folder
            directory.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(directory / f"{index:03d}.png")
                if folder.startswith("test/") and not folder.endswith("good"):
                    mask = np.zeros(shape[:2], np.uint8)
                    mask[5:9, 10:20] = 255
                    truth = tmp_path / category / "ground_truth" / directory.name
                    truth.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask).save(truth / f"{index:03d}_mask.png")
    (tmp_path / "license.txt").write_text("CC BY-NC-SA 4.0")
    return tmp_path


def test_sections_and_records(root: Path) -> None:
    train = read_mvtec(root, section="train", category="nut")
    assert [case.case_id for case in train] == [f"nut/train/good/{index:03d}" for index in range(5)]
    assert {(case.label, case.split, case.group, case.mask_path) for case in train} == {(0, "train", "nut", None)}
    test = read_mvtec(root, section="test", category="nut")
    assert [(case.case_id, case.label, case.findings) for case in test] == [
        ("nut/test/bent/000", 1, ("bent",)),
        ("nut/test/bent/001", 1, ("bent",)),
        ("nut/test/cut/000", 1, ("cut",)),
        ("nut/test/good/000", 0, ()),
        ("nut/test/good/001", 0, ()),
    ]
    assert [case.localized for case in test] == [True, True, True, False, False]
    assert all(case.patient_id == case.case_id for case in train + test)
    assert test[1].mask_path == root / "nut" / "ground_truth" / "bent" / "001_mask.png"
    assert read_mvtec(root, section="all", category="nut") == test + train


def test_categories_and_channels(root: Path) -> None:
    assert Counter(case.group for case in read_mvtec(root)) == {"nut": 10, "wire": 10}
    assert read_mvtec(root, category=["wire", "nut"]) == read_mvtec(root, category="all")
    channels = {case.group: read_image(case.image_path).shape for case in read_mvtec(root)}
    assert channels == {"nut": (1, 40, 40), "wire": (3, 30, 50)}


def test_validation_images(root: Path) -> None:
    options = {"val_fraction": 0.4, "split_seed": 3}
    train = read_mvtec(root, section="train", **options)
    val = read_mvtec(root, section="val", **options)
    assert Counter((case.group, case.split) for case in train + val) == {
        ("nut", "train"): 3,
        ("nut", "val"): 2,
        ("wire", "train"): 3,
        ("wire", "val"): 2,
    }
    assert not {case.case_id for case in train} & {case.case_id for case in val}


def test_missing_masks_are_named(root: Path) -> None:
    mask = root / "nut" / "ground_truth" / "bent" / "001_mask.png"
    mask.unlink()
    with pytest.raises(DataError, match=r"bent/001_mask\.png of .*bent/001\.png is missing"):
        read_mvtec(root, section="test", category="nut")
    assert len(read_mvtec(root, section="train", category="nut")) == 5
    kept = read_mvtec(root, section="test", category="nut", require_masks=False)
    assert [(case.label, case.localized) for case in kept[:3]] == [(1, True), (1, False), (1, True)]
    shutil.rmtree(root / "wire" / "ground_truth")
    with pytest.raises(DataError, match="wire has no masks"):
        read_mvtec(root, section="test", category="wire")


def test_wrong_folders(root: Path) -> None:
    for folder, category, reason in (
        (root / "absent", "all", "not a folder"),
        (root / "nut", "all", "is itself a category; give .* category=nut"),
        (root / "nut" / "test", "all", "no category folder"),
        (root, "screw", "no category 'screw'; it has nut, wire"),
    ):
        with pytest.raises(DataError, match=reason):
            read_mvtec(folder, category=category)
    for file in (root / "nut" / "train" / "good").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="good has no image"):
        read_mvtec(root, section="train", category="nut")
    shutil.rmtree(root / "wire" / "test")
    with pytest.raises(DataError, match="wire cannot be evaluated"):
        read_mvtec(root, section="test", category="wire")


def test_wrong_options(root: Path) -> None:
    with pytest.raises(ConfigError, match="section"):
        read_mvtec(root, section="training")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="val_fraction"):
        read_mvtec(root, section="val")
    with pytest.raises(ConfigError, match="category"):
        read_mvtec(root, category=[])


def test_screw_counts(shared_data: Path) -> None:
    cases = read_mvtec(shared_data / "mvtec_384", category="screw")
    assert Counter((case.split, case.label) for case in cases) == {("train", 0): 320, ("test", 0): 41, ("test", 1): 119}
    assert len({case.findings for case in cases if case.label}) == 5
    assert sum(case.localized for case in cases) == 119
    case = next(case for case in cases if case.localized)
    assert case.mask_path is not None
    mask = read_image(case.mask_path)
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert mask.shape == read_image(case.image_path).shape == (1, 384, 384)
