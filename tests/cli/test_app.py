"""The command line as a person meets it: help, exit statuses, sentences instead of tracebacks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vitad_med import __version__
from vitad_med.cli import main
from vitad_med.cli.app import build_parser


def status_of(arguments: list[str]) -> int:
    """The exit status that the process would have."""
    try:
        return main(arguments)
    except SystemExit as leaving:
        return int(leaving.code or 0)


@pytest.mark.parametrize(
    "command",
    [
        *([], ["demo"], ["data"], ["data", "check"], ["compare"], ["report"], ["calibrate"], ["version"]),
        *(["experiment"], ["experiment", "run"], ["experiment", "plan"], ["experiment", "show"]),
    ],
    ids=" ".join,
)
def test_help_has_examples_and_exit_statuses(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"usage: vitad-med {' '.join(command)}".strip() in shown
    assert "examples:" in shown
    assert "130  interrupted by Ctrl-C" in shown
    assert max(len(line) for line in shown.splitlines()) <= 100


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["demo", "--epoch", "1"], "--epochs"),
        (["demo", "--output-dir", "x"], "--output_dir"),
        (["demo", "--sead=3"], "--seed"),
        (["demoo"], "demo"),
        (["data", "chek", "x"], "check"),
        (["data", "check", "x", "--decod"], "--decode"),
        (["version", "--jsn"], "--json"),
        (["--verison"], "--version"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_mistyped_words_are_errors_with_a_suggestion(
    arguments: list[str], suggestion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(rf"^error: .*did you mean {suggestion}\?", shown.err)
    assert len(shown.err.splitlines()) == 1


def test_an_unknown_option_like_no_other_gets_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["version", "--zzzzzz"]) == 2
    assert "did you mean" not in capsys.readouterr().err


def test_a_command_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of([]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_options_are_not_abbreviated() -> None:
    assert status_of(["version", "--js"]) == 2


def test_version_option_prints_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"vitad-med {__version__}"


def test_every_command_has_a_function_to_run() -> None:
    parser = build_parser()
    for words in (["demo"], ["data", "check", "folder"], ["version"]):
        assert callable(parser.parse_args(words).run)


def test_a_users_mistake_is_one_sentence_without_traceback(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "vitad_med.cli", "data", "check", str(tmp_path / "absent")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "absent" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_reader_that_closes_the_pipe_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "vitad_med.cli", "version"], stdout=write_end, stderr=subprocess.PIPE, timeout=600
        )
    finally:
        os.close(write_end)
    assert (result.returncode, result.stderr) == (0, b"")
