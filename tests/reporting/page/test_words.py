"""Figures in words and tables: the summary says what the figures carry, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from vitad_med.reporting.page.alarms import alarms_of
from vitad_med.reporting.page.flow import flow_diagram
from vitad_med.reporting.page.gaps import surviving_gaps
from vitad_med.reporting.page.numbers import (
    MINUS,
    NOTHING,
    Cell,
    count,
    figure_cell,
    figure_text,
    fraction,
    percent,
    probability,
    stated_percent,
)
from vitad_med.reporting.page.records import Row
from vitad_med.reporting.page.summary import beats_metadata, summary
from vitad_med.reporting.page.tables import best_null, image_table, localization_table, metric_table
from vitad_med.reporting.page.worklist import script_json, static_rows, worklist_data

SPACE = "\N{NARROW NO-BREAK SPACE}"


def figure(value: float | None, low: float | None = None, high: float | None = None, reason: str | None = None) -> dict:
    return {"value": value, "low": low, "high": high, "n": 10, "reason": reason}


def answer(report: dict[str, Any], key: str) -> Any:
    return {item.key: item for item in summary(report)}[key]


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.5634, False, ".563"),
        (1.0, False, "1.000"),
        (-0.0451, False, f"{MINUS}.045"),
        (0.0274, True, "+.027"),
        (-0.0001, True, ".000"),
        (0.0, True, ".000"),
    ],
)
def test_fractions(value: float, signed: bool, text: str) -> None:
    assert fraction(value, signed=signed) == text


def test_percentages_probabilities_and_counts() -> None:
    assert [percent(0.2449), percent(0.0553), percent(0.09996)] == [f"24{SPACE}%", f"5.5{SPACE}%", f"10{SPACE}%"]
    assert stated_percent(0.05) == f"5{SPACE}%"
    assert [probability(p) for p in (None, 0.0004, 0.028, 1.0)] == [NOTHING, "<.001", ".028", "1"]
    assert [count(None), count(25596)] == ["withheld", f"25{SPACE}596"]


def test_a_figure_without_interval_or_value_says_why() -> None:
    assert figure_cell(figure(0.5)) == Cell(".500", note="too few patients for an interval")
    assert figure_cell(figure(None, reason="no box")) == Cell(NOTHING, note="no box")
    assert figure_cell(None) == Cell(NOTHING)
    assert figure_text(figure(0.5, 0.4, 0.6)) == ".500 (.400 to .600)"
    assert figure_text(figure(0.5, 0.4, 0.6), "percent") == f"50{SPACE}% (40 to 60{SPACE}%)"
    assert figure_text(figure(0.952, 0.949, 0.955), "percent") == f"95.2{SPACE}% (94.9 to 95.5{SPACE}%)"
    assert figure_text(figure(11.2, 5.7, 19.1), "plain") == "11 (6 to 19)"
    assert figure_text(figure(None, reason="no box")) == "no box"


@pytest.mark.parametrize(
    ("verdict", "tone", "begins"), [("yes", "good", "Yes"), ("no", "bad", "No,"), ("cannot tell", "open", "Not shown")]
)
def test_the_first_answer_is_the_verdict(report: dict[str, Any], verdict: str, tone: str, begins: str) -> None:
    report["cohorts"]["all"]["verdict"]["answer"] = verdict
    where = answer(report, "where")
    assert where.tone == tone
    assert where.answer.startswith(begins)
    pointing = any(item.startswith("Not for pointing at findings") for item in answer(report, "limits").items)
    assert pointing == (verdict != "yes")


@pytest.mark.parametrize(
    ("ours", "difference", "beats"),
    [
        (figure(0.7, 0.65, 0.75), figure(0.06, 0.02, 0.1), True),
        (figure(0.7, 0.65, 0.75), figure(0.06, -0.01, 0.13), False),
        (figure(0.48, 0.46, 0.49), figure(0.18, 0.1, 0.26), False),
        (figure(0.7), figure(0.06), None),
        (figure(0.7, 0.65, 0.75), figure(None, reason="one sex"), None),
    ],
    ids=["above", "overlap", "metadata worse than chance", "no interval", "no metadata"],
)
def test_detection_is_claimed_only_beyond_metadata_and_chance(
    report: dict[str, Any], ours: dict, difference: dict, beats: bool | None
) -> None:
    report["cohorts"]["all"]["image"]["image_auroc"] = ours
    report["cohorts"]["all"]["metadata_difference"] = difference
    assert beats_metadata(report) is beats
    whether = answer(report, "whether")
    assert whether.tone == {True: "good", False: "bad", None: "open"}[beats]
    assert "No image AUROC is a detection claim by itself." in whether.sentences[-1]
    warned = any(item.startswith("Not as evidence of detection") for item in answer(report, "limits").items)
    assert warned == (beats is not True)


def test_a_hundred_studies_by_hand(report: dict[str, Any]) -> None:
    rates = report["operating_point"]["cohorts"]["all"]
    rates["false_positive_rate"], rates["sensitivity"] = figure(0.1), figure(0.4)
    alarms = alarms_of(report["operating_point"])
    assert alarms is not None
    # 5 of 100 are abnormal: 2 found, 3 missed; 95 are normal: 9.5 alarm, 85.5 do not.
    assert alarms.expected == pytest.approx({"right": 2, "false": 9.5, "missed": 3, "quiet": 85.5})
    assert len(alarms.marks) == 100
    assert {kind: alarms.marks.count(kind) for kind in ("right", "missed")} == {"right": 2, "missed": 3}
    assert alarms.alarms == pytest.approx(11.5)
    assert "12 raise an alarm, and 2.0 of those are right" in answer(report, "alarm").answer


def test_an_alarm_without_labels_is_not_measured(report: dict[str, Any]) -> None:
    report["operating_point"]["cohorts"]["all"]["sensitivity"] = figure(None, reason="no abnormal images")
    assert alarms_of(report["operating_point"]) is None
    assert answer(report, "alarm").sentences == ["No abnormal images."]


def test_only_gaps_that_survive_holm_reach_the_summary(report: dict[str, Any]) -> None:
    sentences = surviving_gaps(report)
    assert len(sentences) == 2
    assert "women .585 (.559 to .611), .045 below the others" in sentences[0]
    assert "p = .028 after Holm" in sentences[0]
    assert "age 18-39" in sentences[1]
    assert "age 65+" not in sentences[1]
    for gap in report["gaps"]:
        gap["p_holm"] = 0.05
    assert surviving_gaps(report) == []
    assert answer(report, "whom").answer == "No gap is established"


def test_a_cohort_without_figures_is_named_in_the_limits(report: dict[str, Any]) -> None:
    assert "Not in cohorts that were too small to measure: age 0-17." in answer(report, "limits").items


def test_the_best_null_map_turned_upside_down_scores_one_minus_its_figure(report: dict[str, Any]) -> None:
    cohort = report["cohorts"]["all"]
    cohort["nulls"]["mirror_difference"]["conditioned_auroc"] = figure(0.4, 0.35, 0.42)
    cohort["verdict"]["null"] = "mirror_difference inverted"
    name, null = best_null(cohort)
    assert name == "mirror_difference inverted"
    assert null is not None
    assert (null["value"], null["low"], null["high"]) == pytest.approx((0.6, 0.58, 0.65))


@pytest.mark.parametrize("named", ["mirror_difference", "mirror difference", "Mirror difference"])
def test_a_null_map_is_found_by_its_key_and_in_words(report: dict[str, Any], named: str) -> None:
    cohort = report["cohorts"]["all"]
    cohort["verdict"]["null"] = named
    assert best_null(cohort)[1] == cohort["nulls"]["mirror_difference"]["conditioned_auroc"]
    assert "(mirror difference) the difference" in answer(report, "where").sentences[1]


def test_reasons_become_footnotes_once(report: dict[str, Any]) -> None:
    assert image_table(report).footnotes == {"fewer than 5 normal patients": "a"}
    table = metric_table(report["cohorts"]["all"], "all")
    assert table is not None
    assert table.footnotes == {"not a valid null map here": "a"}
    assert metric_table(report["cohorts"]["age=0-17"], "none") is None


def test_a_line_parts_the_axes_of_a_table(report: dict[str, Any]) -> None:
    rows = localization_table(report).rows
    assert [row.header for row in rows if row.starts_group] == ["men", "view PA", "age 0-17", "finding Cardiomegaly"]


def test_the_flow_diagram_has_every_count_and_nothing_overlaps(report: dict[str, Any]) -> None:
    flow = flow_diagram(report["flow"])
    assert len(flow.boxes) == 9
    assert "score is not a finite number: 7 images, 6 patients" in flow.description.replace(", images", " images")
    assert "withheld patients" in flow.description
    for i, one in enumerate(flow.boxes):
        assert one.x + one.width <= flow.width
        assert one.y + one.height <= flow.height
        for other in flow.boxes[i + 1 :]:
            apart = one.x + one.width < other.x or other.x + other.width < one.x
            assert apart or one.y + one.height < other.y or other.y + other.height < one.y
    assert len(flow_diagram({"read": None, "evaluated": None}).boxes) == 3


def test_columns_without_content_are_left_out() -> None:
    data = worklist_data([Row("a", "p", 1.5), Row("b", "q", 1.25)], [])
    assert [column["key"] for column in data["columns"]] == ["image", "patient", "score", "localized"]
    assert static_rows(data)[1][2] == "1.250"


def test_scores_that_crowd_are_shown_with_the_digits_that_tell_them_apart() -> None:
    crowded = worklist_data([Row(str(i), "p", 1 - i * 1e-6) for i in range(50)], [])
    spread = worklist_data([Row(str(i), "p", i / 50) for i in range(50)], [])
    assert static_rows(crowded)[1][2] == "0.999999"
    assert static_rows(spread)[1][2] == "0.0200"


def test_words_are_numbered_in_their_order_and_offered_as_filters(rows: list[Row]) -> None:
    columns = {column["key"]: column for column in worklist_data(rows, [])["columns"]}
    assert columns["age_band"]["words"] == sorted(columns["age_band"]["words"])
    offered = {key for key, column in columns.items() if column["filter"]}
    assert offered == {"label", "flagged", "sex", "view", "age_band", "column-0", "localized"}


def test_json_in_a_page_cannot_close_its_element() -> None:
    text = script_json({"a": "</script><!-- & \u2028"})
    assert text == '{"a":"\\u003c/script\\u003e\\u003c!-- \\u0026 \\u2028"}'
