"""`vitad-med report` as a user runs it: on real files, twice, and on what people get wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.reporting.studies import KEY, SIDE, StudyOnDisk, make_study
from vitad_med.cli import main

FILES = {"report.html", "report.json", "cohorts.csv", "images.csv", "model_card.md", "reporting_checklist.md"}


@pytest.fixture
def study(tmp_path: Path) -> StudyOnDisk:
    (tmp_path / "site.key").write_bytes(KEY)
    return make_study(tmp_path / "run", patients=60)


def report(study: StudyOnDisk, *words: str, out: str = "report") -> int:
    """Status of the command on the study, with few replicates."""
    study.write()
    folder = study.folder.parent
    fixed = ["--eval_size", str(SIDE), "--replicates", "100", "--permutations", "100"]
    key = ["--identifier_key_file", str(folder / "site.key")]
    return main(["report", str(study.folder), "--out", str(folder / out), *fixed, *key, *words])


def test_it_writes_all_files_and_the_same_bytes_again(
    study: StudyOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(study, "--cohorts", "sex,scanner,sex:view") == 0
    assert "Does it localize better than position and brightness alone?" in capsys.readouterr().out
    assert report(study, "--cohorts", "sex,scanner,sex:view", out="again") == 0
    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "report" / name).read_bytes(), name


def test_no_name_of_an_image_or_patient_leaves_data_that_are_not_public(study: StudyOnDisk, tmp_path: Path) -> None:
    assert report(study, "--cohorts", "sex") == 0
    names = [str(row[column]) for row in study.rows for column in ("image", "patient")]
    for path in (tmp_path / "report").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not [name for name in names if name in text], path.name
        assert str(tmp_path) not in text


def test_images_are_listed_by_score_with_the_columns_of_the_table(study: StudyOnDisk, tmp_path: Path) -> None:
    assert report(study, "--cohorts", "sex,scanner") == 0
    with (tmp_path / "report" / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert sorted(scores) == pytest.approx(sorted(row["score"] for row in study.rows))
    assert {row["scanner"] for row in rows} == {"A", "B", "C"}
    for row in rows:
        assert bool(row["pixel_auroc"]) == (row["localized"] == "1")


def test_a_cell_that_a_spreadsheet_would_run_stays_text(study: StudyOnDisk, tmp_path: Path) -> None:
    for row in study.rows:
        row["scanner"] = '=HYPERLINK("http://evil")' if row["sex"] == "F" else "A"
    assert report(study, "--cohorts", "scanner") == 0
    for name in ("images.csv", "cohorts.csv"):
        with (tmp_path / "report" / name).open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
        assert [cell for cell in cells if "HYPERLINK" in cell]


def test_all_pictures_lie_in_a_folder_beside_the_page(study: StudyOnDisk, tmp_path: Path) -> None:
    assert report(study, "--cohorts", "sex", "--thumbnails", "all") == 0
    pictures = list((tmp_path / "report" / "thumbnails").iterdir())
    assert len(pictures) == 2 * len(study.rows)
    (tmp_path / "report" / "thumbnails" / "mine.jpg").write_bytes(b"x")
    assert report(study, "--cohorts", "sex", "--thumbnails", "0") == 0
    assert "data:image/jpeg" not in (tmp_path / "report" / "report.html").read_text()
    # Pictures of the report before are gone, and nothing else is.
    assert [path.name for path in (tmp_path / "report" / "thumbnails").iterdir()] == ["mine.jpg"]


def test_mlflow_holds_figures_by_cohort_and_the_files_without_pictures_of_patients(
    study: StudyOnDisk, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    assert report(study, "--cohorts", "sex", "--tracking_uri", "sqlite", "--name", "theirs") == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'report' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("theirs")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    own = document["cohorts"]["sex=F"]["localization"]["conditioned_auroc"]["value"]
    assert own in [pytest.approx(value) for name, value in run.data.metrics.items() if "sex-F" in name]
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert "report.json" in artifacts
    assert "report.html" not in artifacts


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cohorts", "sex,scaner"], "did you mean scanner"),
        (["--cohorts", "sex:"], "malformed"),
        (["--calibration", "none.json"], "none.json does not exist"),
        (["--bundle", "nowhere"], "metadata.json"),
    ],
)
def test_a_mistake_is_one_sentence_with_status_2(
    study: StudyOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert report(study, *words) == 2
    error = capsys.readouterr().err
    assert error.count("error:") == 1
    assert said in error
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("words", ["--replicates 3", "--prevalence 5", "--fpr 0", "--thumbnails some", "--cohort sex"])
def test_options_that_cannot_be_are_refused(study: StudyOnDisk, words: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["report", str(study.folder), "--out", "x", *words.split()])
    assert left.value.code == 2


def test_scores_that_are_not_finite_stop_the_report_unless_they_are_dropped(
    study: StudyOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in study.rows[:12]:
        row["score"] = "nan"
    assert report(study, "--cohorts", "sex") == 2
    assert "--drop-invalid" in capsys.readouterr().err
    assert report(study, "--cohorts", "sex", "--drop-invalid") == 0
    flow = json.loads((tmp_path / "report" / "report.json").read_text())["flow"]
    assert flow["excluded"][0]["images"] == 12


def test_a_rotated_map_and_a_box_outside_of_the_image_are_named(
    study: StudyOnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(iter(study.boxes))
    kept = study.maps[name]
    study.maps[name], study.pictures[name] = np.zeros((12, 24)), np.zeros((24, 12), dtype=np.uint8)
    assert report(study, "--cohorts", "sex") == 2
    assert f"{name}.npy" in capsys.readouterr().err
    study.maps[name], study.pictures[name] = kept, np.zeros((SIDE, SIDE), dtype=np.uint8)
    study.boxes[name] = (0.9, 0.9, 0.5, 0.5, "Mass")
    assert report(study, "--cohorts", "sex") == 2
    assert "boxes.csv" in capsys.readouterr().err


def test_further_columns_leave_data_that_are_not_public_only_as_cohorts(study: StudyOnDisk, tmp_path: Path) -> None:
    for number, row in enumerate(study.rows):
        row["accession"] = f"ACC{number:07d}"
    assert report(study, "--cohorts", "sex,scanner") == 0
    for path in (tmp_path / "report").iterdir():
        assert "ACC00000" not in path.read_text(encoding="utf-8"), path.name
    assert "scanner" in (tmp_path / "report" / "images.csv").read_text().splitlines()[0]


def test_a_report_is_not_written_over_the_run(study: StudyOnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    study.folder.mkdir(exist_ok=True)
    (study.folder / "images.csv").write_text("mine")
    assert report(study, "--cohorts", "sex", out="run") == 2
    assert "predictions.csv of a run" in capsys.readouterr().err
    assert (study.folder / "images.csv").read_text() == "mine"


def test_rows_do_not_show_who_is_in_a_withheld_cohort(study: StudyOnDisk, tmp_path: Path) -> None:
    for row in study.rows[:2]:
        row["scanner"] = "rare"
    assert report(study, "--cohorts", "sex,scanner") == 0
    with (tmp_path / "report" / "images.csv").open(newline="") as file:
        scanners = [row["scanner"] for row in csv.DictReader(file)]
    assert "rare" not in scanners
    assert scanners.count("withheld") > 2
