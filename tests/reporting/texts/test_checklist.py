"""The checklists: their items are complete, and answers come from the report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from vitad_med.reporting.texts.checklist import LISTS, read_items, reporting_checklist, write_checklist
from vitad_med.reporting.texts.checklist_answers import ANSWERS

Samples = dict[str, Callable[[], dict[str, Any]]]

# Collins et al. 2024, table 1: sub-items of the items that have any.
TRIPOD_PARTS = {
    3: "abc",
    5: "ab",
    6: "abc",
    8: "abc",
    9: "abc",
    12: "abcdefg",
    18: "abcdef",
    20: "abc",
    23: "ab",
    27: "abc",
}
TRIPOD_DEVELOPMENT_ONLY = {"9a", "12a", "12b", "12c", "15", "22", "27a", "27b"}
TRIPOD_EVALUATION_ONLY = {"12f", "12g", "20c", "24"}


def rows_of(text: str, title: str) -> dict[str, list[str]]:
    """Cells of one checklist by item number, as a Markdown reader shows them."""
    html = MarkdownIt("commonmark").enable("table").render(text.split(f"## {title}")[1].split("\n## ")[0])
    rows = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)]
    return {row[0]: row[1:] for row in rows if row}


def test_items_are_those_of_the_guidelines() -> None:
    tripod, claim = (read_items(name) for name in LISTS)
    numbers = [f"{item}{part}" for item in range(1, 28) for part in TRIPOD_PARTS.get(item, [""])]
    assert [item["number"] for item in tripod["item"]] == numbers
    assert len(numbers) == 52
    applies = {item["number"]: item["applies"] for item in tripod["item"]}
    assert {number for number, kind in applies.items() if kind == "D"} == TRIPOD_DEVELOPMENT_ONLY
    assert {number for number, kind in applies.items() if kind == "E"} == TRIPOD_EVALUATION_ONLY
    assert [item["number"] for item in claim["item"]] == [str(number) for number in range(1, 45)]
    assert (tripod["items"], claim["items"]) == (27, 44)


def test_every_answer_is_asked_for_and_every_question_has_one() -> None:
    asked = {item["fills"] for name in LISTS for item in read_items(name)["item"] if "fills" in item}
    assert asked == set(ANSWERS)


@pytest.mark.parametrize("kind", ["full", "unlocalized", "suppressed"])
@pytest.mark.parametrize("metadata", [None, {"intended_use": "a|b <b>"}])
def test_both_tables_render_with_every_item(samples: Samples, kind: str, metadata: dict | None) -> None:
    text = reporting_checklist(samples[kind](), metadata)
    tripod, claim = rows_of(text, "TRIPOD+AI"), rows_of(text, "CLAIM")
    assert (len(tripod), len(claim)) == (52, 44)
    assert {len(row) for row in [*tripod.values(), *claim.values()]} == {4}
    assert "None" not in text
    assert tripod["3b"][2] == ("-" if metadata is None else "a|b &lt;b&gt;")
    assert tripod["17"][1:] == ["for the authors", "-", "-"]
    counts = [int(number) for number in re.findall(r"(\d+) answered from the report, (\d+) in part", text)[0]]
    assert counts[0] == sum(row[1] == "answered" for row in tripod.values())
    assert counts[1] == sum(row[1] == "in part" for row in tripod.values())


def test_answers_hold_the_reports_values(samples: Samples) -> None:
    text = reporting_checklist(samples["full"]())
    tripod, claim = rows_of(text, "TRIPOD+AI"), rows_of(text, "CLAIM")
    assert "1,392 images of 848 patients" in tripod["10"][2]
    assert "the map holds NaN: 7 images of 6 patients" in tripod["11"][2]
    assert "41 images have no known age." in tripod["11"][2]
    assert tripod["15"][1] == "answered"
    assert "1.23457e-05, set on normal images only" in tripod["15"][2]
    assert "read: 1,399 images of 852 patients" in tripod["20a"][2]
    assert "women: image AUROC .608 [.578-.638], conditioned AUROC .512 [.482-.542]" in tripod["23a"][2]
    assert "men +.021 [-.019 to +.061], standardised -.008" in tripod["23b"][2]
    assert "2,000 replicates, seed 0" in claim["29"][2]
    assert "sensitivity .270 [.230-.310]" in claim["38"][2]
    assert "11.2 [9.1-13.3] alarms per 100" in claim["38"][2]
    assert tripod["23a"][3] == "cohorts"


def test_what_the_report_lacks_is_left_to_the_authors(samples: Samples) -> None:
    text = reporting_checklist(samples["unlocalized"]())
    tripod, claim = rows_of(text, "TRIPOD+AI"), rows_of(text, "CLAIM")
    for number in ("12d", "12f", "12g", "16", "18f", "22", "23b", "24"):
        assert tripod[number][1] == "for the authors", number
    assert claim["31"][1] == "for the authors"
    assert claim["38"][1] == "answered"
    assert "at the threshold" not in claim["38"][2]


def test_unknown_values_and_suppressed_counts_are_told(samples: Samples) -> None:
    report = samples["suppressed"]()
    report["cohorts"]["sex=unknown"] = report["cohorts"]["scanner=A|B"] | {"name": "sex unknown"}
    tripod = rows_of(reporting_checklist(report), "TRIPOD+AI")
    assert "sex unknown: images of a withheld number of patients" in tripod["11"][2]
    assert "scanner A|B: images of a withheld number of patients" in tripod["20b"][2]


def test_the_same_report_gives_the_same_bytes(samples: Samples, tmp_path: Path) -> None:
    for name in "ab":
        write_checklist(tmp_path / name, samples["full"]())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
