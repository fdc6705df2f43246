"""cohorts.csv: every figure of the report is in it, and no spreadsheet runs a cell."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from vitad_med.reporting.document.document import check_report
from vitad_med.reporting.texts.cohorts_csv import write_cohorts_csv

Samples = dict[str, Callable[[], dict[str, Any]]]


def rows_of(report: dict[str, Any], folder: Path) -> list[dict[str, str]]:
    write_cohorts_csv(folder / "cohorts.csv", check_report(report))
    with open(folder / "cohorts.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def leaves(value: Any) -> int:
    """Figures anywhere below, counted without knowing where they lie."""
    if isinstance(value, dict):
        return 1 if {"value", "low", "high"} <= value.keys() else sum(map(leaves, value.values()))
    return 0


@pytest.mark.parametrize("kind", ["full", "unlocalized", "suppressed"])
def test_every_figure_of_the_report_has_one_row(samples: Samples, kind: str, tmp_path: Path) -> None:
    report = samples[kind]()
    rows = rows_of(report, tmp_path)
    operating = (report["operating_point"] or {"cohorts": {}})["cohorts"]
    verdicts = sum(leaves(cohort["verdict"]) for cohort in report["cohorts"].values())
    assert len(rows) == leaves(report["cohorts"]) - verdicts + leaves(operating)
    assert len({(row["cohort"], row["map"], row["metric"]) for row in rows}) == len(rows)
    assert list(dict.fromkeys(row["cohort"] for row in rows)) == list(report["cohorts"])


def test_a_row_holds_its_figure(samples: Samples, tmp_path: Path) -> None:
    table = pd.DataFrame(rows_of(samples["full"](), tmp_path)).set_index(["cohort", "map", "metric"])
    assert list(table.loc[("all", "method", "image_auroc")]) == [
        "all images", "1392", "848", "0.628000", "0.598000", "0.658000", "1392", ""
    ]  # fmt: skip
    assert table.loc[("sex=M", "difference to brightness", "conditioned_auroc"), "value"] == "-0.043000"
    assert table.loc[("all", "method", "alarms_per_100"), "value"] == "11.230000"
    assert table.loc[("all", "method", "image_auroc_delong"), "low"] == "0.596000"
    unscored = table.loc[("all", "box_prior", "conditioned_auroc")]
    assert (unscored["value"], unscored["reason"]) == ("", "not a valid null map here")


def test_suppressed_counts_are_empty(samples: Samples, tmp_path: Path) -> None:
    rows = [row for row in rows_of(samples["suppressed"](), tmp_path) if row["cohort"] == "scanner=A|B"]
    assert {(row["n_images"], row["n_patients"]) for row in rows} == {("", "")}


def test_names_from_a_table_are_not_run_by_a_spreadsheet(samples: Samples, tmp_path: Path) -> None:
    report = samples["full"]()
    report["cohorts"]["=HYPERLINK(1)=x"] = report["cohorts"]["sex=M"] | {"name": "@SUM(A1)\tA"}
    report["cohorts"]["=HYPERLINK(1)=x"]["image"]["image_ap"] = {
        "value": None, "low": None, "high": None, "n": 0, "reason": "-1 images"
    }  # fmt: skip
    rows = [row for row in rows_of(report, tmp_path) if "HYPERLINK" in row["cohort"]]
    assert {(row["cohort"], row["name"]) for row in rows} == {("'=HYPERLINK(1)=x", "'@SUM(A1) A")}
    assert {row["reason"] for row in rows} >= {"'-1 images"}


def test_the_same_report_gives_the_same_bytes(samples: Samples, tmp_path: Path) -> None:
    rows_of(samples["full"](), tmp_path)
    first = (tmp_path / "cohorts.csv").read_bytes()
    rows_of(samples["full"](), tmp_path)
    assert (tmp_path / "cohorts.csv").read_bytes() == first
