"""What the evaluation writes and prints."""

from __future__ import annotations

import csv
import io
import re
import resource
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ignite.engine import Engine
from PIL import Image
from rich.console import Console

from vitad_med.data.case import Case
from vitad_med.errors import ConfigError, StorageError
from vitad_med.evaluation.collect import EvaluateCohorts
from vitad_med.evaluation.document import Document, Value, read_document, write_metrics
from vitad_med.evaluation.images_csv import COLUMNS, write_images_csv
from vitad_med.evaluation.overlays import write_overlays
from vitad_med.evaluation.run import evaluate_predictions
from vitad_med.evaluation.table import print_table
from vitad_med.evaluation.truth import truth_masks
from vitad_med.evaluation.verdict import best_null, localization_verdict
from vitad_med.predictions.identifiers import safe_cell

NAMES = {"bundle": "attn_synth", "model_digest": "m" * 64, "data_digest": "d" * 64}


@pytest.fixture(scope="module")
def finished(study: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Document]:
    folder = tmp_path_factory.mktemp("out") / "new" / "folder"
    document = evaluate_predictions(
        study.cases,
        study.scores,
        study.maps,
        folder,
        eval_size=study.size,
        replicates=50,
        by=[("sex",), ("finding",)],
        overlays=2,
        **NAMES,
    )
    return folder, document


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def printed(document: Document, width: int) -> str:
    stream = io.StringIO()
    print_table(document, Console(file=stream, width=width))
    return stream.getvalue()


def test_the_folder_holds_the_document_the_table_and_the_pictures(finished: tuple[Path, Document]) -> None:
    folder, document = finished
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == ["images.csv", "metrics.json", "overlays/best.png", "overlays/worst.png"]
    assert read_document(folder / "metrics.json") == document


def test_a_second_run_writes_the_same_bytes(study: Any, finished: tuple[Path, Document], tmp_path: Path) -> None:
    first, _ = finished
    options = {"eval_size": study.size, "replicates": 50, "by": [("sex",), ("finding",)], "overlays": 2}
    evaluate_predictions(study.cases, study.scores, study.maps, tmp_path, **options, **NAMES)
    for name in ("metrics.json", "images.csv", "overlays/best.png", "overlays/worst.png"):
        assert (tmp_path / name).read_bytes() == (first / name).read_bytes(), name


def test_one_row_an_image_with_its_own_figures(study: Any, finished: tuple[Path, Document]) -> None:
    table = rows(finished[0] / "images.csv")
    assert tuple(table[0]) == COLUMNS
    assert [row["case_id"] for row in table] == [case.case_id for case in study.cases]
    assert [float(row["score"]) for row in table] == pytest.approx(study.scores.tolist(), rel=1e-6)
    truth = truth_masks(study.localized, study.size)
    boxed = [row for row in table if row["localized"] == "1"]
    for row, image, mask in zip(boxed, study.maps, truth, strict=True):
        wins = (image[mask][:, None] > image[~mask][None]).mean()
        assert float(row["pixel_auroc"]) == pytest.approx(wins, abs=1e-6)
        assert float(row["pointing_hit"]) == mask.ravel()[image.argmax()]
    assert {(row["pixel_auroc"], row["pointing_hit"]) for row in table if row["localized"] == "0"} == {("", "")}


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=1", "\r=1", "\n=1", "\uff1d1", '=HYPERLINK("http://x","y")']
)
def test_a_cell_that_a_spreadsheet_would_run_is_neutralised(text: str, tmp_path: Path, study: Any) -> None:
    assert safe_cell(text) == "'" + re.sub(r"[\t\r\n]", " ", text)
    case = replace(study.cases[0], case_id=text, patient_id=text, sex=text, findings=(text,), group=text)
    nothing = np.zeros(0)
    write_images_csv(
        tmp_path / "i.csv", [case], np.array([-1.5]), pixel_auroc=nothing, pointing_hit=nothing, identifiers="clear"
    )
    row = rows(tmp_path / "i.csv")[0]
    for name in ("case_id", "patient_id", "sex", "findings", "group"):
        assert row[name].startswith("'")
    assert float(row["score"]) == -1.5


@pytest.mark.parametrize("text", ["00000013_005", "Mass|Nodule", "screw/test/good/000", "a=b", "", "40-64"])
def test_an_ordinary_cell_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == text


def test_hashed_identifiers_follow_the_key_and_hide_the_patient(study: Any, tmp_path: Path) -> None:
    boxed = len(study.localized)
    tables = []
    for name, key in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        path = tmp_path / f"{name}.csv"
        figures = {"pixel_auroc": np.zeros(boxed), "pointing_hit": np.zeros(boxed)}
        write_images_csv(path, study.cases, study.scores, identifier_key=key, **figures)
        assert not any(case.case_id in path.read_text() for case in study.cases)
        tables.append(rows(path))
    assert tables[0] == tables[1]
    assert {row["patient_id"] for row in tables[0]}.isdisjoint(row["patient_id"] for row in tables[2])
    assert len({row["case_id"] for row in tables[0]}) == len(study.cases)
    groups = {}
    for case, row in zip(study.cases, tables[0], strict=True):
        assert groups.setdefault(case.patient_id, row["patient_id"]) == row["patient_id"]


def test_data_that_is_not_public_needs_a_key_before_any_work(study: Any, tmp_path: Path) -> None:
    cases = [replace(case, source="hospital") for case in study.cases]
    with pytest.raises(ConfigError, match="identifier_key"):
        evaluate_predictions(cases, study.scores, study.maps, tmp_path, eval_size=study.size, **NAMES)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="'clear' or 'hashed'"):
        evaluate_predictions(
            cases, study.scores, study.maps, tmp_path, eval_size=study.size, identifiers="plain", **NAMES
        )


def test_maps_that_do_not_fit_on_the_disk_are_one_sentence(study: Any, tmp_path: Path) -> None:
    engine = Engine(lambda engine, batch: batch)
    EvaluateCohorts(study.cases, tmp_path, "attn_synth", "m").attach(engine)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores SIGXFSZ, so a file beyond the limit fails like one on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError, match="TMPDIR"):
            engine.run([0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_that_cannot_be_written_is_named(finished: tuple[Path, Document], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"metrics\.json"):
        write_metrics(tmp_path / "file" / "metrics.json", finished[1])


@pytest.mark.parametrize("width", [100, 140])
def test_the_table_shows_every_figure_beside_its_null_on_one_line(finished: tuple[Path, Document], width: int) -> None:
    document = finished[1]
    text = printed(document, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for name in ("men", "women", "finding Effusion", "finding Mass"):
        assert len(re.findall(rf"^{name}\b", text, flags=re.MULTILINE)) >= 2
    for name in ("this method", "centre blob", "box prior", "brightness", "brightness, ranked", "mirror difference"):
        assert len(re.findall(rf"^  {name} ", text, flags=re.MULTILINE)) == len(document["cohorts"])
    value = document["cohorts"]["all"]["metrics"]["conditioned_auroc"]
    shown = f"{value['value']:.3f} [{value['low']:.3f}-{value['high']:.3f}]".replace("0.", ".")
    assert shown in text


def test_to_exceed_metadata_that_are_worse_than_chance_is_not_shown_as_a_success(
    finished: tuple[Path, Document],
) -> None:
    document = deepcopy(finished[1])
    metrics = document["cohorts"]["all"]["metrics"]
    for low, null, green in ((0.4, 0.2, False), (0.6, 0.2, True), (0.6, 0.7, False)):
        metrics["image_auroc"].update(value=0.65, low=low, high=0.68)
        metrics["metadata_null_auroc"].update(value=null, low=None, high=None)
        stream = io.StringIO()
        print_table(document, Console(file=stream, width=140, force_terminal=True, color_system="standard"))
        line = next(line for line in stream.getvalue().splitlines() if line.startswith("all"))
        assert ("\x1b[32m.650" in line) is green


def test_a_cohort_of_all_images_of_unknown_view_is_not_printed_again(study: Any, tmp_path: Path) -> None:
    cases = [replace(case, view="unknown") for case in study.cases]
    document = evaluate_predictions(
        cases, study.scores, study.maps, tmp_path, eval_size=study.size, replicates=20, overlays=0, **NAMES
    )
    assert "view=unknown" in document["cohorts"]
    text = printed(document, 120)
    assert "view unknown" not in text
    assert re.search("^women", text, flags=re.MULTILINE)


def test_the_table_survives_cohorts_without_figures_and_a_narrow_terminal(study: Any, tmp_path: Path) -> None:
    cases = [replace(case, view="PA" if case.label else "AP", sex="unknown") for case in study.cases]
    document = evaluate_predictions(
        cases, study.scores, study.maps, tmp_path, eval_size=study.size, replicates=20, overlays=0, **NAMES
    )
    text = printed(document, 80)
    assert "cannot tell: no localized images" in text
    assert "image AUROC: no abnormal images (view AP)" in " ".join(text.split())
    assert not (tmp_path / "overlays").exists()


def difference(value: float, low: float | None, high: float | None) -> Value:
    return {"value": value, "low": low, "high": high, "n": 9, "reason": None}


@pytest.mark.parametrize(
    ("differences", "answer", "words"),
    [
        ({"brightness": (0.05, 0.01, 0.09), "centre_blob": (0.15, 0.1, 0.2)}, "yes", "localizes better than position"),
        ({"brightness": (0.05, -0.01, 0.09)}, "cannot tell", "not shown to localize better than brightness"),
        # The best null is beaten, but another, less certain one is not.
        ({"brightness": (0.05, 0.01, 0.09), "centre_blob": (0.06, -0.1, 0.2)}, "cannot tell", "not shown"),
        ({"brightness": (-0.05, -0.09, -0.01)}, "no", "does not localize better than brightness, it is worse"),
        # Picked as the best of five, a difference must be clearer than one that was named beforehand.
        (
            {
                "brightness": (-0.05, -0.09, -0.01),
                **{name: (0.1 + 0.01 * i, 0.05, 0.2) for i, name in enumerate(("centre_blob", "mirror_difference"))},
                "mirror_difference inverted": (0.2, 0.1, 0.3),
                "centre_blob inverted": (0.3, 0.1, 0.4),
            },
            "cannot tell",
            "not shown to localize better than brightness",
        ),
        ({"brightness inverted": (-0.05, -0.09, -0.01)}, "no", "does not localize better than brightness inverted"),
        # Without the images brightness is not compared, and position alone is not the question.
        ({"centre_blob": (0.15, 0.1, 0.2)}, "cannot tell", "better than position alone, but brightness was not"),
        ({"brightness": (0.05, None, None)}, "cannot tell", "too few patients to tell: .650 against .600 (brightness)"),
        ({}, "cannot tell", "cannot tell: no null map"),
    ],
)
def test_the_verdict_reads_the_paired_difference_to_the_best_null(
    differences: dict[str, tuple[float, float | None, float | None]], answer: str, words: str
) -> None:
    value: Value = {"value": 0.65, "low": 0.6, "high": 0.7, "n": 9, "reason": None}
    verdict = localization_verdict(value, {name: difference(*triple) for name, triple in differences.items()})
    assert verdict.answer == answer
    assert verdict.sentence.startswith(words)


def test_the_verdict_of_a_cohort_without_a_figure_is_its_reason() -> None:
    value: Value = {"value": None, "low": None, "high": None, "n": 0, "reason": "no localized images"}
    assert localization_verdict(value, {}).sentence == "cannot tell: no localized images"


def test_the_best_null_of_a_column_without_figures_is_none(finished: tuple[Path, Document]) -> None:
    cohort = finished[1]["cohorts"]["all"]
    nothing = {name: dict.fromkeys(figures) for name, figures in cohort["nulls"].items()}
    assert best_null({**cohort, "nulls": nothing}, "pixel_auroc") is None


def test_overlays_show_best_and_worst_without_overlap(study: Any, tmp_path: Path) -> None:
    def sheets(name: str, cases: list[Case], aurocs: np.ndarray, **options: Any) -> list[str]:
        scores = np.zeros(len(cases))
        written = write_overlays(tmp_path / name, cases, scores, study.maps[: len(cases)], aurocs, **options)
        for path in written:
            assert np.asarray(Image.open(path).convert("L")).std() > 20
        return [path.name for path in written]

    three = study.localized[:3]
    assert sheets("three", three, np.array([0.2, 0.9, 0.5]), identifiers="clear") == ["best.png", "worst.png"]
    widths = [Image.open(tmp_path / "three" / name).width for name in ("best.png", "worst.png")]
    assert widths[0] > widths[1], "two best cases, one worst"
    assert sheets("one", three[:1], np.array([0.5]), identifiers="clear") == ["best.png"]
    assert sheets("none", three, np.full(3, np.nan), identifiers="clear") == []
    with pytest.raises(ConfigError, match="identifier_key"):
        sheets("hashed", three, np.array([0.2, 0.9, 0.5]))
