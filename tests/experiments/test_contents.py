"""A data set's folder is known by what a listing and its tables say, not by where or when it was put there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vitad_med.errors import DataError
from vitad_med.experiments import contents
from vitad_med.experiments.contents import by_content, content, folder_digest

Change = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, a table, and a folder of images that lies elsewhere."""
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    (root / "images").mkdir(parents=True)
    elsewhere.mkdir()
    for name in ("a.png", "b.png"):
        (root / "images" / name).write_bytes(b"12345")
    (elsewhere / "c.png").write_bytes(b"1234567")
    (root / "more").symlink_to(elsewhere)
    (root / "labels.csv").write_text("a.png,0\nb.png,1\n")
    return root


def labels(root: Path) -> Path:
    return root / "labels.csv"


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "images" / "d.png").write_bytes(b""),
        lambda root: (root / "images" / "a.png").unlink(),
        lambda root: (root / "images" / "a.png").rename(root / "images" / "e.png"),
        lambda root: (root / "images" / "a.png").rename(root / "a.png"),
        lambda root: (root / "images" / "a.png").write_bytes(b"123456"),
        lambda root: (root / "more" / "c.png").write_bytes(b"1"),
        lambda root: labels(root).write_text("a.png,1\nb.png,0\n"),  # of equal size
        lambda root: (root / "more").unlink(),
        lambda root: (root / "gone.png").symlink_to("nowhere"),
    ],
)
def test_what_a_listing_shows_gives_another_digest(folder: Path, change: Change) -> None:
    before = folder_digest(folder)
    change(folder)
    assert folder_digest(folder) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: os.utime(root / "images" / "a.png", (1, 1)),
        lambda root: os.utime(labels(root), (1, 1)),
        lambda root: (root / ".DS_Store").write_bytes(b"x"),
        lambda root: (root / "images" / "loop").symlink_to(root),
        lambda root: (root / "empty").mkdir(),
        lambda root: (root / "images" / "a.png").write_bytes(b"54321"),  # the limit, as documented
    ],
)
def test_what_is_no_content_or_cannot_be_seen_gives_the_same(folder: Path, change: Change) -> None:
    before = folder_digest(folder)
    change(folder)
    assert folder_digest(folder) == before


def test_the_place_does_not_matter(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "other" / "name")  # links become folders
    assert folder_digest(copied) == folder_digest(folder)


def test_a_table_above_the_limit_is_known_by_its_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "TABLE_BYTES", 8)
    before = folder_digest(folder)
    labels(folder).write_text("a.png,1\nb.png,0\n")
    assert folder_digest(folder) == before
    labels(folder).write_text("a.png,1\n")
    assert folder_digest(folder) != before


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match="absent' cannot be read"):
        folder_digest(folder / "absent")


def test_overrides_keep_no_path_of_this_machine(folder: Path) -> None:
    here = {"seed": 3, "dataset_dir": str(folder), "bundle": "/opt/clone/bundles/tiny"}
    written = {
        "seed": "{seed}",
        "labels": "{dataset_dir}/labels.csv",
        "absent": "{dataset_dir}/absent.csv",
        "guard_dataset_dir": str(folder),
        "cache_dir": str(folder),
        "weights": "{bundle}/models/model.pt",
        "block": {"list": ["{train}/model.pt", 0.5]},
    }
    found = by_content(written, here, {"seed": 3, "bundle": "bundles/tiny", "train": "step:1f"}, folder_digest)
    assert found["cache_dir"].startswith("path:")
    assert found == {
        "seed": 3,
        "labels": f"file:{content(labels(folder))}",
        "absent": "{dataset_dir}/absent.csv",
        "guard_dataset_dir": f"folder:{folder_digest(folder)}",
        "cache_dir": found["cache_dir"],
        "weights": "bundles/tiny/models/model.pt",
        "block": {"list": ["step:1f/model.pt", 0.5]},
    }
