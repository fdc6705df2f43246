"""`vitad-med data check` on real images: what it prints, and the exit status that a script acts on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vitad_med.cli import main
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.splits import split_digest


@pytest.fixture
def broken(nih_mini: Path, tmp_path: Path) -> Path:
    """A copy of the embedded data set with four unreadable files: five examples would not fit a printed line."""
    folder = tmp_path / "broken"
    shutil.copytree(nih_mini, folder)
    for path in sorted((folder / "images").iterdir())[:4]:
        path.write_bytes(path.read_bytes()[:200])
    return folder


def test_the_embedded_data_set_is_clean(nih_mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(nih_mini)]) == 0
    shown = capsys.readouterr().out
    cases = read_chestxray14(nih_mini)
    assert split_digest(cases) in shown
    assert f"Decoded {len(cases)} image files." in shown


def test_unreadable_images_give_status_one_and_are_named(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(broken)]) == 1
    shown = capsys.readouterr().out
    assert "and 1 more" in shown
    assert main(["data", "check", str(broken), "--list"]) == 1
    shown = capsys.readouterr().out
    for path in sorted((broken / "images").iterdir())[:4]:
        assert path.stem in shown


def test_without_decoding_the_same_files_pass(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(broken), "--no-decode"]) == 0
    assert "Decoded 0 image files." in capsys.readouterr().out


def test_json_holds_the_whole_report(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(broken), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "chestxray14"
    (problem,) = [problem for problem in report["problems"] if problem["severity"] == "error"]
    assert len(problem["items"]) == 4


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--category", "screw"], "--category"), (["--kind", "mvtec"], "nih_mini"), (["--kind", "nih"], "--kind")],
)
def test_options_that_do_not_fit_are_the_users_mistake(
    nih_mini: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["data", "check", str(nih_mini), *words])
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    shown = capsys.readouterr()
    assert status == 2
    assert shown.err.startswith("error: ")
    assert expected in shown.err


def test_an_empty_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert "empty" in shown.err
