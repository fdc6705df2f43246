"""`vitad-med score` as a user meets it."""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
from pathlib import Path

import pytest

from scripts.make_dx import make_folder
from tests.warm import Warm
from vitad_med.cli import main
from vitad_med.cli.score import add_scoring_options
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.findings.making import ENCODINGS
from vitad_med.scoring.settings import OUTPUTS
from vitad_med.site.folder import VARIABLE


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "site"))


@pytest.fixture
def bundle(repo_root: Path) -> str:
    return str(repo_root / "bundles" / "attn_synth")


@pytest.fixture(scope="module")
def files(nih_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    make_folder(read_chestxray14(nih_mini, section="test")[:2], folder)
    (folder / "letter.txt").write_text("Dear colleague\n")
    return folder


def test_from_another_folder_with_a_table_and_files(files: Path, bundle: str, tmp_path: Path, warm: Warm) -> None:
    command = [sys.executable, "-m", "vitad_med.cli", "score", str(files), "--bundle", bundle, "--out", "out"]
    command += ["--workers", "1", "--outputs", "report,parquet"]
    done = warm.run(command, tmp_path, os.environ, 240)
    assert done.returncode == 0, done.stderr
    assert "2 of 3 files scored" in done.stdout
    assert "set aside: 1 unreadable" in done.stdout
    assert "scores rank images" in done.stdout
    assert "made the site's key" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("report.html", "run.json", "state", "worklist.csv", "worklist.parquet"),
    ]
    with (tmp_path / "out" / "worklist.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--outputs", "worklist,segg"], "--outputs: 'segg' is none of"),
        (["--set", "image_sise=3"], "did you mean '--image_size'"),
        (["--set", "device"], "write KEY=VALUE"),
        (["--calibration", "none.json"], "none.json does not exist"),
        (["--weights", "nothing.pt"], "nothing.pt"),
        (["--device", "toaster"], "--device is 'toaster', but must be auto or a torch device"),
        (["--device", "cuda:99"], "--device is 'cuda:99', but must be a device that this machine has: cpu"),
        (["--set", "image_size=0"], "--image_size is 0"),
    ],
)
def test_mistakes_are_sentences(
    files: Path, bundle: str, tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["score", str(files), "--bundle", bundle, "--out", str(out), *options]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert not out.exists()


@pytest.mark.parametrize(
    "option",
    [["--region_share", "1.5"], ["--batch_size", "0"], ["--backend", "tensorrt"], ["--encoding", "jpeg"]],
)
def test_impossible_values_are_refused(files: Path, bundle: str, option: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["score", str(files), "--bundle", bundle, "--out", "out", *option])
    assert stopped.value.code == 2


def test_the_command_offers_what_there_is() -> None:
    """Its help does not wait for torch, so it names choices itself."""
    parser = argparse.ArgumentParser()
    add_scoring_options(parser)
    choices = {action.dest: action.choices for action in parser._actions}
    assert tuple(choices["encoding"]) == tuple(ENCODINGS)
    outputs = next(action.help for action in parser._actions if action.dest == "outputs")
    assert all(re.search(rf"\b{name}\b", outputs) for name in OUTPUTS)


def test_sources_that_do_not_exist(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, words in (("nowhere", "does not exist"), (str(tmp_path), "holds no file")):
        (tmp_path / "site").mkdir(exist_ok=True)
        target = tmp_path / "empty" if source == str(tmp_path) else Path(source)
        if source == str(tmp_path):
            target.mkdir()
        assert main(["score", str(target), "--bundle", bundle, "--out", str(tmp_path / "out"), "--workers", "0"]) == 2
        assert words in capsys.readouterr().err


def test_a_folder_that_is_no_bundle(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(files), "--bundle", str(files), "--out", str(tmp_path / "out")]) == 2
    assert "configs/metadata.json: give e.g. bundles/attn_synth" in capsys.readouterr().err
