"""Nothing that is tracked tells where and by whom a run was made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vitad_med.bundles.provenance import git_commit, publishable, without_paths


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_commit_dirty_flag_and_absence(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "train.json").write_text("{}")
    assert git_commit(bundle) is None
    git(tmp_path, "init", "-q")
    assert git_commit(bundle) is None
    git(tmp_path, "add", "bundle")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert git_commit(bundle) == head
    (bundle / "train.json").write_text("{ }")
    assert git_commit(bundle) == f"{head}-dirty"
    untracked = tmp_path / "copy"
    untracked.mkdir()
    (untracked / "train.json").write_text("{}")
    assert git_commit(untracked) is None
    assert git_commit(tmp_path / "absent") is None


@pytest.mark.parametrize(
    "text",
    [
        "/home/anna/images",
        "~/images",
        "~anna/images",
        r"C:\Users\anna\images",
        "$open('/home/anna/x')",
        "a,/home/anna",
        "sqlite:////home/anna/x.db",
        "https://anna:secret@server/x",
    ],
)
def test_paths_and_credentials_go(text: str) -> None:
    clean = without_paths(text)
    assert "anna" not in clean
    assert "secret" not in clean
    assert "images" not in clean


@pytest.mark.parametrize("text", ["outputs/run", "../data", "1/2", "https://server/x", "vit_tiny_patch16_224", "a / b"])
def test_other_text_stays(text: str) -> None:
    assert without_paths(text) == text


def test_paths_here_become_relative_and_others_stay_comparable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert without_paths(str(tmp_path / "outputs" / "a")) == "outputs/a"
    assert publishable({"a": [tmp_path / "b", 1, None, object()]}) == {"a": ["b", 1, None, "object"]}
    assert without_paths("/x/y") == without_paths("/x/./y") != without_paths("/x/z")


@pytest.mark.parametrize("path", ["/data/Smith John/chest", "../Smith_John/x", "~/Smith, John", "/data/[Smith]/y z"])
def test_a_path_goes_whole_with_its_spaces_and_above_this_folder(path: str) -> None:
    assert "mith" not in publishable({"dataset_dir": path})["dataset_dir"]
