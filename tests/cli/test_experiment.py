"""`vitad-med experiment`: its options, what it refuses, and what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitad_med.cli import main

DEMO = str(Path(__file__).resolve().parents[2] / "configs" / "experiments" / "demo.json")
TTA = str(Path(__file__).resolve().parents[2] / "configs" / "experiments" / "bmvc2022_tta.json")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", DEMO, "--out", "OUT", "--data", "nih"], "--data nih: write NAME=DIR"),
        (["run", DEMO, "--out", "OUT", "--data", "mini=/x"], "--data mini: no such data set"),
        (["run", DEMO, "--out", "OUT", "--data", "nih_mini=/absent"], "give --data nih_mini=DIR"),
        (["run", DEMO, "--out", "OUT", "--rows", "shiped"], "did you mean 'shipped'?"),
        (["run", DEMO, "--out", "OUT", "--scale", "small"], "has no scale 'small'"),
        (["run", DEMO, "--out", "OUT", "--tracking_uri", "mlruns"], "--tracking_uri is 'mlruns'"),
        (["run", TTA, "--out", "OUT", "--scale", "small"], "give --data nih=DIR"),
        (["run", "absent.json", "--out", "OUT"], "'absent.json' cannot be read"),
        (["show", "OUT"], "give the --out of `experiment run`"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experiment", *(str(tmp_path / "out") if word == "OUT" else word for word in words)]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1
    assert shown[0].startswith("error: ")
    assert expected in shown[0]
    assert not (tmp_path / "out" / "steps").exists()


def test_a_plan_says_what_would_run_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "plan", DEMO, "--out", str(tmp_path / "out"), "--rows", "shipped"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("to run") == 2  # one step, and the sum
    assert "1 of 13 steps to run" in shown
    assert "not needed" in shown
    assert not (tmp_path / "out").exists()


def test_a_step_that_fails_gives_status_1_and_its_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "out"
    words = ["experiment", "run", DEMO, "--out", str(out), "--rows", "shipped", "--tracking_uri", "none"]
    assert main([*words, "--data", f"nih_mini={empty}"]) == 1
    shown = capsys.readouterr().out
    assert "1 steps failed" in shown
    assert "failed (1)" in shown
    assert "(1) evaluate: " in shown
    assert main(["experiment", "show", str(out)]) == 0
    assert "failed (1)" in capsys.readouterr().out


def test_wide_tables_are_continued_below_and_no_cell_is_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitad_med.cli.experiment import _tables
    from vitad_med.experiments.tables import Grid

    cells = [f"0.{number} \u00b1 0.123" for number in range(100, 112)]
    grid = Grid("G", [("online", 12)], [f"metric {number}" for number in range(12)], [("a long label " * 4, cells)], "")
    from rich.console import Console

    for width in (80, 120, 300):
        console = Console(width=width, highlight=False)
        with console.capture() as capture:
            for table in _tables(grid, width):
                console.print(table)
        text = capture.get()
        assert all(cell in text for cell in cells), width
        assert max(map(len, text.splitlines())) <= width
        assert ("(continued)" in text) == (width < 300)


def test_the_note_of_a_table_is_printed_once_below_its_last_part(capsys: pytest.CaptureFixture[str]) -> None:
    from vitad_med.cli.experiment import _print
    from vitad_med.experiments.tables import Grid, Tables

    grid = Grid("G", [("", 12)], ["a long head"] * 12, [("row", ["0.100 \u00b1 0.123"] * 12)], "n = 3 seeds.")
    _print(Tables("T", "Q", [grid, grid], ["the end"], []))
    shown = capsys.readouterr().out
    assert "(continued)" in shown
    assert shown.count("n = 3 seeds.") == 2
    first = shown.index("n = 3 seeds.")
    assert shown[:first].rstrip().endswith("\u2518")  # the corner of a table
    assert shown.rindex("(continued)", 0, first) < first < shown.rindex("n = 3 seeds.") < shown.index("the end")
