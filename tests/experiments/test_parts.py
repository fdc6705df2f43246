"""A data set in parts, each a problem of its own: planned part by part, told by its mean and part by part."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitad_med.errors import ConfigError
from vitad_med.experiments import Plan, plan, read_experiment, run
from vitad_med.experiments.results import Result, family_figures, figures
from vitad_med.experiments.store import read_tables
from vitad_med.experiments.writing import markdown

Planned = Callable[..., Plan]


@pytest.fixture
def divided(content: dict[str, Any]) -> dict[str, Any]:
    """`first` in three parts; one row on it, one seed, no training."""
    content["seeds"] = [0]
    content["data"]["first"]["each"] = {"category": [0, 2, 3]}
    content["data"]["first"]["note"] = "One of each."
    content["rows"] = {name: content["rows"][name] for name in ("shipped", "low")}
    content["metrics"] = {"auroc": {**content["metrics"]["auroc"], "label": "AUROC"}}
    return content


def test_every_step_of_a_part_has_its_value(divided: dict[str, Any], planned: Planned) -> None:
    made = planned(divided)
    assert list(made.experiment.data) == ["first_0", "first_2", "first_3", "second"]
    assert made.experiment.rows["low"].data == ("first_0", "first_2", "first_3")
    assert sorted(step.overrides["category"] for step in made.steps.values()) == [0, 0, 0, 2, 2, 2, 3, 3, 3]
    assert len(made.steps) == 3 * 3  # a training and two evaluations each


def test_one_folder_serves_all_parts(divided: dict[str, Any], write: Callable[..., Path], repository: Path) -> None:
    del divided["data"]["first"]["dataset_dir"]
    experiment = read_experiment(write(divided))
    made = plan(experiment, {"first": str(repository / "images")})
    assert {step.dataset_dir.name for step in made.steps.values()} == {"images"}
    with pytest.raises(ConfigError, match="where 'first' lies: give --data first=DIR"):
        plan(experiment, {})
    with pytest.raises(ConfigError, match="--data first_0: no such data set; did you mean 'first'"):
        plan(experiment, {"first_0": "."})


def test_mean_and_deviation_over_parts_by_hand(divided: dict[str, Any], planned: Planned) -> None:
    experiment = planned(divided).experiment

    def result(part: str, seed: int, value: float | None) -> Result:
        state = "not run" if value is None else "value"
        return Result("low", f"first_{part}", seed, "auroc", f"{part}{seed}", state, value)

    runs = [result("0", 0, 0.5), result("0", 1, 0.7), result("2", 0, 0.8), result("2", 1, 0.8), result("3", 0, 0.9)]
    [family] = family_figures(experiment, figures(runs))
    # Parts' means .6, .8, .9: mean .7667; deviations squared .02778 + .00111 + .01778 over 2.
    assert family.mean == pytest.approx(2.3 / 3)
    assert family.deviation == pytest.approx(math.sqrt(0.0466667 / 2), rel=1e-5)
    assert (family.error, family.n, family.planned, family.data) == (None, 3, 3, "first")
    [short] = family_figures(experiment, figures([*runs, result("3", 1, None)]))
    assert (short.n, short.planned, short.state) == (2, 3, "value")
    assert family_figures(experiment, figures([Result("low", "second", 0, "auroc", "s", "value", 0.5)])) == []


def test_the_tables_tell_the_mean_and_each_part_beside_the_paper(
    divided: dict[str, Any], planned: Planned, tmp_path: Path
) -> None:
    divided["rows"]["low"]["data"] = ["second"]
    figures_of_paper = [
        {"row": "shipped", "metric": "auroc", "data": "first", "value": 0.924, "error": 0.05},
        {"row": "shipped", "metric": "auroc", "data": "first_2", "value": 0.99},
    ]
    divided["paper"] = {"title": "Paper", "settings": {}, "figures": figures_of_paper}
    out = tmp_path / "out"
    run(planned(divided), out, "none", lambda _: None)
    whole, parts, other = read_tables(out).grids
    assert (whole.title, parts.title, other.title) == ("First", "First: AUROC by category", "second")
    # .125, .325 and .425.
    assert whole.rows == [("shipped", ["0.292 \u00b1 0.153", "0.924 \u00b1 0.050"])]
    assert whole.note.startswith("Mean over 3 data sets, each trained and evaluated by itself, one for each category.")
    assert parts.heads == ["0", "2", "3"]
    assert parts.rows == [("shipped", ["0.125", "0.325", "0.425"]), ("shipped, Paper", ["", "0.990", ""])]
    assert markdown(read_tables(out)).count("First: One of each.") == 1
    lines = list(csv.DictReader(io.StringIO((out / "table.csv").read_text())))
    assert [(line["data"], line["paper"]) for line in lines] == [
        *(("first_0", ""), ("first_2", "0.99"), ("first_3", ""), ("second", ""), ("first", "0.924")),
    ]
    assert (lines[-1]["standard_error"], lines[-1]["n"]) == ("", "3")
    assert float(lines[-1]["standard_deviation"]) == pytest.approx(0.15275, abs=1e-5)


@pytest.mark.parametrize("values", [[1], "0123", [1, 1], [1, "1"], ["a b", "c"], [], {"a": 1}])
def test_values_that_make_no_parts_are_refused(divided: dict[str, Any], planned: Planned, values: Any) -> None:
    divided["data"]["first"]["each"] = {"category": values}
    with pytest.raises(ConfigError, match=r"data\.first\.each\.category is .* a list of different values"):
        planned(divided)


def test_one_key_divides(divided: dict[str, Any], planned: Planned) -> None:
    divided["data"]["first"]["each"] = {"category": [1, 2], "seed": [1, 2]}
    with pytest.raises(ConfigError, match="one config key and the list of its values"):
        planned(divided)


def test_names_of_parts_and_of_the_whole_may_be_told_apart(divided: dict[str, Any], planned: Planned) -> None:
    divided["rows"]["low"]["data"] = ["first_2", "second"]
    assert planned(divided).experiment.rows["low"].data == ("first_2", "second")
    divided["rows"]["low"]["data"] = ["first_9"]
    with pytest.raises(ConfigError, match=r"rows\.low\.data names the data set 'first_9', which does not exist"):
        planned(divided)
