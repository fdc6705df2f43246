"""`vitad-med fits`: parts of a fit merged and shown, and every way to be refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.normality.studies import SIZE, extractor, write_cases
from vitad_med.cli import main
from vitad_med.data.case import Case
from vitad_med.data.shards import shard_name, shard_of
from vitad_med.data.stream import CaseStream
from vitad_med.normality import choose_fit, model_digest
from vitad_med.normality.fitting import NormalityFitting, part_path
from vitad_med.normality.state import read_stored


def fit(path: Path, cases: list[Case], shard: str, width: int = 6) -> Path:
    """Fit a Gaussian to one part of the cases; the path of the part."""
    stream = CaseStream(shard_of(cases, shard), SIZE, 4)
    NormalityFitting(
        extractor(width), choose_fit(), stream, path, identifier_key=b"secret", shard_name=shard_name(cases, shard)
    ).run()
    return part_path(path)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parts")
    cases = write_cases(folder / "images", 24)
    return [fit(folder / f"{number}.safetensors", cases, f"{number}/2") for number in (1, 2)]


def test_parts_become_one_model_that_can_be_shown(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.safetensors"
    assert main(["fits", "merge", *map(str, parts), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    model = read_stored(out, "model")
    assert model.settings["images"] == 24
    assert model.digest == model_digest(out)
    assert main(["fits", "show", str(out)]) == 0
    shown = capsys.readouterr().out
    assert shown == printed
    words = ("gaussian", "images 24", "6 channels on 4 x 4 cells", "patches", "1/2 of the list", "2/2 of the list")
    for word in (*words, model.digest[:12], "0 of 16 positions"):
        assert word in shown, word
    line = next(line for line in shown.splitlines() if "patients" in line)
    assert "12" in line


def test_the_model_has_the_epsilon_that_is_named(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.safetensors"
    assert main(["fits", "merge", *map(str, parts), "--epsilon", "0.25", "--out", str(out)]) == 0
    assert "epsilon 0.25" in capsys.readouterr().out
    assert read_stored(out, "model").settings["epsilon"] == 0.25


def test_a_part_says_that_it_is_one(parts: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fits", "show", str(parts[0])]) == 0
    shown = capsys.readouterr().out
    assert "Part of a model" in shown
    assert "12 in 3 batches of up to 4, complete" in shown


def test_mistakes_end_in_one_sentence(parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = map(str, parts)
    others = [replace(case, patient_id=f"q{case.patient_id}") for case in write_cases(tmp_path / "images", 8)]
    other = str(fit(tmp_path / "other.safetensors", others, "1/1", width=4))
    out = tmp_path / "out.safetensors"
    model = one.replace(".part", "")
    capsys.readouterr()
    for words, message in (
        (["merge", one, "--out", str(out)], "at least two parts"),
        (["merge", one, two], "--out is missing"),
        (["merge", one, two, "--out", str(tmp_path)], "is a folder"),
        (["merge", one, one, "--out", str(out)], "name each part once"),
        (["merge", one, model, "--out", str(out)], "give the other file"),
        (["merge", one, other, "--out", str(out)], "channels"),
        (["merge", one, str(tmp_path / "none"), "--out", str(out)], "does not exist"),
        (["show", one, two], "show takes one file"),
        (["show", one, "--out", str(out)], "--out does not apply"),
        (["show", one, "--epsilon", "0.1"], "--epsilon does not apply"),
    ):
        assert main(["fits", *words]) == 2, words
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error, error
    assert not out.exists()
