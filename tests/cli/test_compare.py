"""`vitad-med compare` from the command line: files, table, sentences and mistakes."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitad_med.cli import main


@pytest.fixture(scope="module")
def write_run(repo_root: Path) -> Callable[..., Any]:
    module = runpy.run_path(str(repo_root / "tests" / "comparison" / "runs.py"))
    return module["write_run"]  # type: ignore[no-any-return]


@pytest.fixture
def runs(tmp_path: Path, write_run: Callable[..., Any]) -> tuple[str, str]:
    write_run(tmp_path / "a", method="first")
    write_run(tmp_path / "b", method="second", quality=0.6)
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_files_table_and_sentences(runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "out"
    words = ["compare", *runs, "--out", str(out), "--cohorts", "sex,sex:view", "--replicates", "600"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    document = json.loads((out / "compare.json").read_text())
    assert list(document["cohorts"])[:4] == ["all", "sex=M", "sex=F", "sex=M,view=PA"]
    assert document["settings"]["cohorts"] == ["sex", "sex:view"]
    assert (document["a"]["method"], document["b"]["method"]) == ("first", "second")
    assert "In all images, B localizes better than A: yes (" in " ".join(shown.split())
    assert "second" in shown
    line = next(line for line in shown.splitlines() if line.startswith("women, view AP"))
    assert line.split()[3] == "10"
    assert max(map(len, shown.splitlines())) <= 100
    assert (out / "compare.csv").read_text().count("\n") == 1 + 6 * len(document["cohorts"])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(words) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_private_runs_need_no_key_and_are_repeatable(
    tmp_path: Path, write_run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write_run(tmp_path / name, public=False, quality=0.5 * (name == "b"))
        (tmp_path / name / "run.json").unlink()
    results = []
    for out in ("one", "two"):
        words = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / out)]
        assert main([*words, "--replicates", "50", "--eval_size", "8"]) == 0
        results.append((tmp_path / out / "compare.json").read_bytes())
    assert results[0] == results[1]
    assert b"0001" not in (tmp_path / "one" / "compare.csv").read_bytes().split(b"\n")[1].split(b",")[0]
    assert json.loads(results[0])["settings"]["eval_size"] == 8
    assert not json.loads(results[0])["public"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cohorts", "sexx"], "sexx"),
        (["--replicates", "0"], "replicates 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--eval_size", "0"], "eval_size"),
        (["--identifier_key_file", "absent.key"], "absent.key"),
    ],
)
def test_impossible_options_are_one_sentence(
    runs: tuple[str, str], tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *runs, "--out", str(tmp_path / "out"), *words]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_run_and_an_output_that_is_a_file_are_named(
    runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", runs[0], str(tmp_path / "absent"), "--out", str(tmp_path / "out")]) == 2
    assert "absent" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    words = ["compare", *runs, "--out", str(tmp_path / "file" / "out"), "--replicates", "10"]
    assert main(words) == 2
    assert "--out" in capsys.readouterr().err
