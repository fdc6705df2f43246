"""A folder scored end to end, by the real bundle on real radiographs."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
import torch
from PIL import Image

from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import read_image, resize
from vitad_med.errors import ConfigError, DataError
from vitad_med.scoring.bundle import load_bundle
from vitad_med.scoring.run import Scored
from vitad_med.scoring.worklist import COLUMNS
from vitad_med.site.key import key_path, read_key
from vitad_med.site.linkage import look_up

Score = Callable[..., Scored]
Tree = Callable[[Path], dict[str, bytes]]


def table(scored: Scored) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((scored.out / "worklist.csv").read_text())))


def test_every_file_has_a_row_and_the_score_of_the_bundle(score: Score, ward: Path, repo_root: Path) -> None:
    scored = score(outputs=("worklist", "parquet", "maps"))
    rows = table(scored)
    assert tuple(rows[0]) == COLUMNS
    assert [row["set_aside"] for row in rows] == [""] * 7 + ["truncated", "unreadable"]
    scores = [float(row["score"]) for row in rows[:7]]
    assert scores == sorted(scores, reverse=True)

    # The same numbers as the bundle gives for the published pictures, of which the DICOM files are 16-bit copies.
    bundle, key = load_bundle(repo_root / "bundles" / "attn_synth"), read_key()
    expected, maps = {}, {}
    for path in sorted(ward.rglob("0*.dcm")):
        image = torch.from_numpy(resize(read_image(path), bundle.image_size))[None]
        output = bundle.inferer(image, bundle.network)
        uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        name = key.name("image", uid)
        expected[name], maps[name] = float(output.score[0]), output.map[0, 0].numpy()
    assert {row["image"] for row in rows[:7]} == set(expected)
    for row in rows[:7]:
        assert float(row["score"]) == pytest.approx(expected[row["image"]], abs=2e-4)
        picture = np.asarray(Image.open(scored.out / "maps" / f"{row['image']}.png")).astype(np.float64) / 65535
        assert np.corrcoef(resize(picture, 224).ravel(), maps[row["image"]].ravel())[0, 1] > 0.99

    typed = pq.read_table(scored.out / "worklist.parquet").to_pylist()
    assert [row["image"] for row in typed] == [row["image"] for row in rows]
    assert [row["score"] for row in typed[:7]] == scores
    assert typed[0]["flagged"] is None


def test_cohort_columns_and_intended_use(score: Score, nih_mini: Path) -> None:
    rows = table(score(outputs=("worklist",)))[:7]
    cases = read_chestxray14(nih_mini, section="test")[:7]
    assert sorted(row["view"] for row in rows) == sorted(case.view for case in cases)
    assert sorted(row["sex"] for row in rows) == sorted(case.sex for case in cases)
    assert sorted(int(row["age"]) for row in rows) == sorted(int(case.age or 0) for case in cases)
    assert {row["outside_intended_use"] for row in rows if int(row["age"]) >= 18} == {""}


def test_names_lead_back_inside_the_site(score: Score, ward: Path) -> None:
    rows = table(score(outputs=("worklist",)))
    cut = next(row for row in rows if row["set_aside"] == "truncated")
    assert [link.identifier for link in look_up(cut["file"])] == ["b/cut.dcm"]
    for row in rows[:7]:
        domains = {name: look_up(row[name])[0].domain for name in ("image", "study", "patient", "file")}
        assert domains == {name: name for name in domains}


def test_the_same_input_gives_the_same_bytes(score: Score, tmp_path: Path, tree: Tree) -> None:
    one = score(out=tmp_path / "one")
    two = score(out=tmp_path / "two", workers=2)
    assert tree(one.out) == tree(two.out)
    assert (one.out / "report.html").exists()


def test_a_batch_of_another_size_only_rounds(score: Score, tmp_path: Path) -> None:
    one, two = table(score(out=tmp_path / "one")), table(score(out=tmp_path / "two", batch_size=7))
    for first, second in zip(one[:7], two[:7], strict=True):
        assert first["image"] == second["image"]
        assert float(first["score"]) == pytest.approx(float(second["score"]), rel=1e-4)


def test_a_finished_run_resumes_to_itself(score: Score, tree: Tree) -> None:
    before = tree(score().out)
    assert tree(score(resume=True).out) == before


def test_a_run_stopped_between_batches_goes_on(score: Score, tmp_path: Path, tree: Tree) -> None:
    whole = tree(score(out=tmp_path / "whole").out)
    out = score(out=tmp_path / "stopped").out
    batches = out / "state" / "batches.jsonl"
    lines = batches.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    batches.write_bytes(lines[0] + lines[1][:50])
    for name in ("worklist.csv", "report.html", "run.json"):
        (out / name).unlink()
    resumed = score(out=out, resume=True, outputs=("worklist", "report"))
    assert tree(resumed.out) == whole


@pytest.mark.parametrize("what", ["gone", "cut"])
def test_a_finished_run_whose_files_are_not_as_they_were_makes_them_again(score: Score, tree: Tree, what: str) -> None:
    outputs = ("worklist", "report", "maps", "sr")
    out = score(outputs=outputs).out
    before = tree(out)
    # Of the second batch of three, so that one is kept.
    (second,) = [json.loads(line)["files"] for line in (out / "state" / "batches.jsonl").open()][1:2]
    broken = out / next(place for place in sorted(second) if place.endswith(".dcm"))
    if what == "gone":
        broken.unlink()
    else:
        broken.write_bytes(b"junk")
    (out / "report.html").unlink()
    (out / "state" / "pictures" / "left_by_a_killed_run.jpg").write_bytes(b"")
    assert tree(score(outputs=outputs, resume=True).out) == before
    assert before[str(broken.relative_to(out))] != b"junk"


def test_the_page_shows_the_highest_scores_after_a_resumption_too(score: Score) -> None:
    out = score(thumbnails=3).out
    page = (out / "report.html").read_bytes()
    assert page.count(b"data:image/jpeg;base64") == 3
    assert len(list((out / "state" / "pictures").iterdir())) == 6
    (out / "report.html").unlink()
    score(thumbnails=3, resume=True)
    assert (out / "report.html").read_bytes() == page


def test_a_folder_with_a_run_is_not_written_over(score: Score) -> None:
    score()
    with pytest.raises(ConfigError, match=r"holds a run: --resume"):
        score()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"batch_size": 4}, "batch_size"),
        ({"outputs": ("worklist",)}, "outputs"),
        ({"window": "none"}, "window"),
        ({"region_share": 0.1}, "region_share"),
        ({"deidentify": True}, "deidentify"),
        ({"encoding": "jpegls"}, "encoding"),
    ],
)
def test_a_resumed_run_has_the_settings_of_the_first(score: Score, change: dict[str, object], key: str) -> None:
    score()
    with pytest.raises(ConfigError, match=f"'{key}' was"):
        score(resume=True, **change)


def test_what_the_bundle_is_meant_for_belongs_to_the_run(score: Score, repo_root: Path, tmp_path: Path) -> None:
    """It decides on p-value and flag, so other words about it are another run with other UIDs."""
    bundle = tmp_path / "attn_synth"
    shutil.copytree(repo_root / "bundles" / "attn_synth", bundle)
    score(bundle=bundle)
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["network_data_format"]["inputs"]["image"]["ages"]["youngest"] = 10
    path.write_text(json.dumps(metadata))
    with pytest.raises(ConfigError, match=r"'intended_use\.youngest' was"):
        score(bundle=bundle, resume=True)


def test_a_resumed_run_has_the_files_of_the_first(score: Score, ward: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ward, copy)
    score(source=copy)
    (copy / "later.txt").write_text("one more\n")
    with pytest.raises(ConfigError, match="'files' was"):
        score(source=copy, resume=True)


def test_a_missing_key_on_resume_is_an_error(score: Score) -> None:
    score()
    key_path().rename(key_path().with_suffix(".aside"))
    with pytest.raises(ConfigError, match="put its key back"):
        score(resume=True)
    score_key = read_key(key_path().with_suffix(".aside"))
    assert not key_path().exists()
    key_path().with_suffix(".aside").rename(key_path())
    assert read_key() == score_key
    score(resume=True)


def test_a_strange_folder_is_left_alone(score: Score, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine\n")
    with pytest.raises(ConfigError, match="not empty"):
        score()


def test_results_do_not_lie_in_the_folder_that_is_scored(score: Score, ward: Path) -> None:
    for out in (ward, ward / "results"):
        with pytest.raises(ConfigError, match="lies in the folder that is scored"):
            score(out=out)
    assert not (ward / "results").exists()


def test_a_name_that_is_no_utf8_has_a_row_and_leads_back(score: Score, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "odd")
    os.mkdir(folder)
    with open(os.path.join(folder, b"M\xfcller.dcm"), "wb") as file:
        file.write(b"no image")
    (row,) = table(score(source=tmp_path / "odd", outputs=("worklist",)))
    assert row["set_aside"] == "unreadable"
    assert [link.identifier for link in look_up(row["file"])] == ["M\\xfcller.dcm"]


def test_a_file_without_the_window_that_was_asked_for_is_set_aside(score: Score) -> None:
    rows = table(score(window="LUNG", outputs=("worklist",)))
    assert {(row["set_aside"], row["detail"]) for row in rows[:7]} == {
        ("pixels", "it has no LUT or window of the name that was asked for")
    }


def test_the_state_is_damaged(score: Score) -> None:
    out = score().out
    batches = out / "state" / "batches.jsonl"
    batches.write_bytes(b"[{}]\n")
    with pytest.raises(DataError, match=r"line 1 of .* is damaged"):
        score(resume=True)
    record = out / "state" / "run.json"
    assert json.loads(record.read_text())["bundle"] == "attn_synth"
