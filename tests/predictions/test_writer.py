"""What the writer leaves on the disk: everything that reads back, nothing of a patient, and never half of it."""

from __future__ import annotations

import csv
import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vitad_med.data.case import Box, Case
from vitad_med.errors import ConfigError, DataError, StorageError
from vitad_med.predictions.file_names import file_stems
from vitad_med.predictions.journal import Journal, utc_now
from vitad_med.predictions.reader import read_predictions
from vitad_med.predictions.writer import PredictionWriter

SIZE = 16
KEY = b"0123456789abcdef"


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Two images of one patient and one of another; the last has boxes whose fractions need every digit."""
    folder = tmp_path / "JONES^MARY"
    folder.mkdir()
    pictures = np.random.default_rng(1).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    made = []
    for index, picture in enumerate(pictures):
        path = folder / f"{index}.png"
        Image.fromarray(picture).save(path)
        made.append(
            Case(f"mvtec/a b/{index}", f"JONES {index // 2}", path, "mvtec", "test", int(index == 2), age=91.5, sex="F")
        )
    boxes = (Box(0.1 + 0.2, 1 / 3, 1 / 7, 0.1, "=Mass"), Box(0.0, 0.0, 1.0, 1.0, "a,b"))
    made[2] = replace(made[2], boxes=boxes, findings=("=Mass", "a,b"), columns=(("scanner", "-1"),), view="AP")
    made[1] = replace(made[1], columns=(("scanner", "B"), ("ward", "east")), group="g", view="PA", age=None)
    return made


MAPS = np.random.default_rng(2).normal(size=(3, SIZE, SIZE)).astype(np.float32)
SCORES = [0.1 + 0.2, float(np.float32(1e-7)), -123456.789]


def write(output_dir: Path, cases: list[Case], maps: np.ndarray = MAPS, **options: object) -> Path:
    options = {"identifiers": "clear", **options}
    writer = PredictionWriter(output_dir, cases, SIZE, **options)  # type: ignore[arg-type]
    for index in (2, 0, 1):
        writer.add(index, SCORES[index], maps[index])
    return writer.finish(Journal(method="ours", created=utc_now()))


def test_everything_reads_back_as_it_was(tmp_path: Path, cases: list[Case]) -> None:
    folder = write(tmp_path / "out", cases)
    assert folder == tmp_path / "out" / "predictions"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions"]
    found = read_predictions(tmp_path / "out")
    assert found.scores.tolist() == SCORES
    assert (found.journal.public, found.journal.identifiers, found.journal.method) == (True, "clear", "ours")
    assert (found.eval_size, found.notes, found.exclusions) == (SIZE, (), ())
    for index, (case, read) in enumerate(zip(cases, found.cases, strict=True)):
        values = {name: dict(case.columns).get(name, "unknown") for name in ("scanner", "ward")}
        expected = replace(case, image_path=read.image_path, columns=tuple(values.items()))
        assert read == expected
        assert np.array_equal(found.map(index), MAPS[index])
        grey = np.asarray(Image.open(read.image_path))
        assert (grey.dtype, grey.shape) == (np.uint16, (SIZE, SIZE))


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, cases: list[Case]) -> None:
    first, second = write(tmp_path / "1", cases), write(tmp_path / "2", cases)
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(names) == 9
    for name in names:
        if name.name != "run.json":  # has the time
            assert (first / name).read_bytes() == (second / name).read_bytes()


def test_nothing_of_a_patient_is_on_the_disk(tmp_path: Path, cases: list[Case]) -> None:
    private = [replace(case, source="image_folder") for case in cases]
    with pytest.raises(ConfigError, match="identifier_key_file"):
        write(tmp_path / "out", private, identifiers="hashed")
    assert not (tmp_path / "out").exists()
    folder = write(tmp_path / "out", private, identifiers="hashed", identifier_key=KEY)
    everything = b" ".join(
        str(path.relative_to(folder)).encode() + path.read_bytes() for path in folder.rglob("*") if path.is_file()
    )
    for word in (b"JONES", b"mvtec", b"a b/", str(tmp_path).encode()):
        assert word not in everything
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    assert [row["age"] for row in rows] == ["90", "", "90"]
    assert rows[0]["patient"] == rows[1]["patient"] != rows[2]["patient"]
    found = read_predictions(folder)
    assert found.journal.identifiers == "hashed"
    assert [case.case_id for case in found.cases] == [row["image"] for row in rows]
    younger = [replace(case, age=64.9) for case in private]
    folder = write(tmp_path / "out", younger, identifiers="hashed", identifier_key=KEY)
    assert {row["age"] for row in csv.DictReader((folder / "predictions.csv").open())} == {"64"}


def test_masks_are_kept_on_the_grid(tmp_path: Path, cases: list[Case]) -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[3:5, 7] = True
    masked = [*cases[:2], replace(cases[2], boxes=(), mask_path=tmp_path / "original.png")]
    writer = PredictionWriter(tmp_path / "out", masked, SIZE, "clear")
    for index in range(3):
        writer.add(index, 0.0, MAPS[index], mask if index == 2 else None)
    folder = writer.finish(Journal())
    assert not (folder / "boxes.csv").exists()
    path = read_predictions(folder).cases[2].mask_path
    assert path is not None
    assert np.array_equal(np.asarray(Image.open(path)) > 0, mask)


def test_a_spreadsheet_runs_no_cell(tmp_path: Path, cases: list[Case]) -> None:
    folder = write(tmp_path / "out", [*cases[:2], replace(cases[2], case_id="=cmd()", patient_id="+1")])
    for name in ("predictions.csv", "boxes.csv"):
        for row in csv.reader((folder / name).open()):
            assert not [cell for cell in row if cell.startswith(("=", "+", "@"))]
            assert not [cell for cell in row if cell.startswith("-") and cell != repr(SCORES[2])]
    found = read_predictions(folder)
    assert (found.cases[2].case_id, found.cases[2].patient_id) == ("=cmd()", "+1")
    assert [box.finding for box in found.cases[2].boxes] == ["=Mass", "a,b"]


def test_an_older_folder_is_replaced_when_the_new_one_is_complete(tmp_path: Path, cases: list[Case]) -> None:
    out = tmp_path / "out"
    write(out, cases)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    writer = PredictionWriter(out, cases, SIZE, "clear")
    writer.add(0, 1.0, MAPS[0])
    with pytest.raises(DataError, match="2 of 3 images were not scored"):
        writer.finish(Journal())
    assert {path: path.read_bytes() for path in before} == before
    del writer
    assert [path.name for path in out.iterdir()] == ["predictions"]
    (out / ".predictions.killed").mkdir()
    write(out, cases[:], maps=MAPS + 1)
    assert [path.name for path in out.iterdir()] == ["predictions"]
    assert np.array_equal(read_predictions(out).map(0), MAPS[0] + 1)


def test_a_full_disk_is_told_before_and_during_the_run(tmp_path: Path, cases: list[Case]) -> None:
    with pytest.raises(StorageError, match=r"need .* GB in .*--keep_predictions False"):
        PredictionWriter(tmp_path / "out", cases, 10**7, "clear")
    write(tmp_path / "out", cases)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = PredictionWriter(tmp_path / "out", cases, SIZE, "clear")
    # Python ignores SIGXFSZ, so a file beyond the limit fails like one on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*what was there before is intact"):
            writer.add(0, 1.0, MAPS[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_predictions(tmp_path / "out").scores.tolist() == SCORES


def test_a_map_of_another_size_is_refused(tmp_path: Path, cases: list[Case]) -> None:
    with pytest.raises(DataError, match="must be"):
        PredictionWriter(tmp_path, cases, SIZE, "clear").add(0, 1.0, MAPS[0][:3])


def test_the_journal_is_the_last_file(tmp_path: Path, cases: list[Case]) -> None:
    folder = write(tmp_path / "out", cases)
    times = {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert max(times, key=lambda name: times[name]) == "run.json"
    assert json.loads((folder / "run.json").read_text())["eval_size"] == SIZE


def test_file_names_are_safe_and_tell_images_apart() -> None:
    names = ["00000013_005", "a/b", "a_b", "A_B", "../x", "", "con", "é", ".hidden", "n" * 300, "a\0b"]
    stems = file_stems(names)
    assert stems[0] == "00000013_005"
    assert len({stem.casefold() for stem in stems}) == len(names)
    for stem in stems:
        assert len(stem) <= 110
        assert set(stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        assert not stem.startswith(".")
        assert stem.lower() != "con"


@given(st.lists(st.text("aA/._-é", max_size=4), unique=True, max_size=30))
def test_different_images_have_different_files(names: list[str]) -> None:
    stems = file_stems(names)
    assert len({stem.casefold() for stem in stems}) == len(names)
