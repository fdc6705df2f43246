"""Means and standard errors by hand; Markdown, LaTeX and CSV that no text of the data can break."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from vitad_med.experiments import Plan, run
from vitad_med.experiments.differences import differences
from vitad_med.experiments.results import Result, figure_at, figures
from vitad_med.experiments.store import read_tables, write_results
from vitad_med.experiments.tables import Grid, Tables, build_tables
from vitad_med.experiments.writing import markdown, table_csv, tex, tex_text

Planned = Callable[..., Plan]

HOSTILE = "a|b & 50 % of $x_1$ {y} #3 ~ ^ \\ <script> *bold* \u00b1"


def result(seed: int, value: float | None, step: str, **changes: Any) -> Result:
    state = "value" if value is not None else "failed"
    return Result("low", "first", seed, "auroc", step, **{"state": state, "value": value, **changes})


def test_mean_and_standard_error_by_hand() -> None:
    [figure] = figures([result(seed, value, f"s{seed}") for seed, value in enumerate((0.7, 0.8, 0.9))])
    assert figure.mean == pytest.approx(0.8)
    # Squared deviations .01 + 0 + .01, over n - 1 = 2: variance .01; over root 3.
    assert figure.error == pytest.approx(0.1 / math.sqrt(3))
    assert (figure.n, figure.planned, figure.state) == (3, 3, "value")


def test_seeds_that_share_a_run_count_once() -> None:
    [figure] = figures([result(seed, 0.7, "same") for seed in range(3)])
    assert (figure.mean, figure.error, figure.n, figure.planned) == (0.7, None, 1, 1)


def test_runs_without_a_value_are_counted_and_their_reasons_kept() -> None:
    runs = [result(0, 0.7, "s0"), result(1, None, "s1", reason="black image"), result(2, 0.9, "s2")]
    [figure] = figures(runs)
    assert (figure.n, figure.planned, figure.reasons) == (2, 3, ("black image",))
    assert figure.error == pytest.approx(0.1)  # deviations of .1: variance .02, root .1414, over root 2


def test_numbers_are_found_by_their_path() -> None:
    document = {
        "a": {"b=1": [{"value": 1, "reason": None}, {"value": None, "reason": "few"}]},
        "n": math.nan,
        "t": True,
    }
    assert figure_at(document, "a#b=1#0#value") == (1.0, None)
    assert figure_at(document, "a#b=1#1#value") == (None, "few")
    for path in ("a#c", "a#b=1#2#value", "n", "t", "a"):
        assert figure_at(document, path) == (None, None), path


@pytest.fixture
def grouped(content: dict[str, Any], planned: Planned, tmp_path: Path) -> tuple[Plan, Tables, Path]:
    """Two groups of columns, two blocks, the paper's figures; rows of one label stand on one line."""
    content["seeds_vary"] = "the training & nothing_else."
    content["columns"] = {"online": "online", "offline": "offline: has seen the test set"}
    rows = content["rows"]
    rows["low"] |= {"label": HOSTILE, "column": "online"}
    rows["high"] |= {"label": HOSTILE, "column": "offline"}
    rows["doubled"] |= {"column": "online"}
    rows["shipped"] |= {"label": "none", "column": ["online", "offline"]}
    content["metrics"]["auroc"] |= {"label": "AUROC", "block": "Images", "format": ".1%"}
    content["metrics"]["women"] |= {"block": "Women"}
    content["paper"] = {
        "title": "Paper",
        "settings": {"train": {"rate": 0.75, "steps": 4, "block#width": 9, "copy": 0.75}},
        "figures": [{"row": "low", "metric": "auroc", "value": 0.724, "error": 0.006, "note": "official images"}],
        "notes": ["It trains longer."],
    }
    made, out = planned(content), tmp_path / "out"
    outcome = run(made, out, "none", lambda _: None)
    return made, outcome.tables, out


def test_rows_stand_in_their_columns_beside_the_papers_figures(grouped: tuple[Plan, Tables, Path]) -> None:
    made, tables, _ = grouped
    images, women = tables.grids
    assert (images.title, women.title) == ("First: Images", "First: Women")
    assert images.groups == [("online", 2), ("offline: has seen the test set", 1)]
    assert images.heads == ["AUROC", "Paper", "AUROC"]
    lines = dict(images.rows)
    assert re.fullmatch(r"\d+\.\d% \u00b1 \d+\.\d%", lines[HOSTILE][0])
    assert lines[HOSTILE][1] == "72.4% \u00b1 0.6% (1)"
    assert lines["doubled"][1:] == ["", ""]
    assert lines["none"] == ["12.5% (n = 1)", "", "12.5% (n = 1)"]
    assert tables.footnotes == ["official images", "too few patients"]
    assert made.experiment.paper is not None


def test_the_number_of_seeds_and_what_they_vary_stand_below_the_table(grouped: tuple[Plan, Tables, Path]) -> None:
    _, tables, out = grouped
    images, women = tables.grids
    assert images.note == (
        "n = 2 seeds where no other number is given. \u00b1: standard error of the mean over seeds. "
        "What the seeds vary: the training & nothing_else. Paper: \u00b1 as published."
    )
    assert women.note == ""  # no figure at all
    markdown_, tex_ = ((out / name).read_text() for name in ("table.md", "table.tex"))
    for text, table in (
        (markdown_, "|\n\nn = 2 seeds where"),
        (tex_, "\\end{tabular}\n\\par\\smallskip{\\footnotesize n = 2"),
    ):
        assert text.count(table) == 1
    assert "the training \\& nothing\\_else" in tex_


def test_a_number_of_seeds_that_all_figures_have_is_said_once(content: dict[str, Any], planned: Planned) -> None:
    content["rows"] = {name: content["rows"][name] for name in ("low", "high")}
    content["metrics"] = {"auroc": content["metrics"]["auroc"]}
    made = planned(content)

    def grid(*values: float | None) -> Grid:
        runs = [
            Result(row, "first", seed, "auroc", f"{row}{seed}", "not run" if value is None else "value", value)
            for (row, seed), value in zip([("low", 0), ("low", 1), ("high", 0), ("high", 1)], values, strict=True)
        ]
        return build_tables(made, figures(runs)).grids[0]

    alike = grid(0.5, 0.6, 0.7, 0.8)
    assert [cells for _, cells in alike.rows] == [["0.550 \u00b1 0.050"], ["0.750 \u00b1 0.050"]]
    assert alike.note == "n = 2 seeds. \u00b1: standard error of the mean over seeds."
    short = grid(0.5, 0.6, 0.7, None)
    assert [cells for _, cells in short.rows] == [["0.550 \u00b1 0.050"], ["0.700 (n = 1 of 2)"]]
    assert short.note.startswith("n = 2 seeds where no other number is given.")
    assert grid(0.5, None, 0.7, None).note == "n = 1 of 2 seeds."
    assert grid(None, None, None, None).note == ""
    assert [cells for _, cells in grid(0.5, 0.6, None, None).rows] == [["0.550 \u00b1 0.050"], ["not run"]]


def test_what_differs_from_the_paper_is_found(grouped: tuple[Plan, Tables, Path]) -> None:
    made, tables, _ = grouped
    found = {difference.key: difference.text for difference in differences(made)}
    # "steps" is the paper's value; the rate of one row is, too; a reference is followed.
    assert found["block#width"] == "block#width 3 instead of 9"
    assert found["rate"] == f"rate 0.5 instead of 0.75 ({HOSTILE}, online; doubled)"
    assert found["copy"].startswith("copy 0.5 instead of 0.75")
    assert "steps" not in found
    assert any(note.startswith("Differs from Paper: train: rate 0.5") for note in tables.notes)
    assert "It trains longer." in tables.notes


class Cells(HTMLParser):
    """Rows of the cells of all tables in HTML, and the tags that occur."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True
        if tag == "br":
            self.rows[-1][-1] += "\n"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def test_rendered_markdown_holds_the_texts(grouped: tuple[Plan, Tables, Path]) -> None:
    _, tables, out = grouped
    cells = Cells(MarkdownIt("commonmark").enable("table").render((out / "table.md").read_text()))
    grid = tables.grids[0]
    heads = [
        "",
        "online\nAUROC",
        "online\nPaper",
        "offline: has seen the test set\nAUROC",
    ]
    assert cells.rows[0] == heads
    assert cells.rows[1 : len(grid.rows) + 1] == [[label, *row] for label, row in grid.rows]
    assert not {"script", "em", "strong"} & cells.tags


def test_tex_is_escaped_and_its_tables_are_whole(grouped: tuple[Plan, Tables, Path]) -> None:
    _, tables, out = grouped
    text = (out / "table.tex").read_text()
    assert text.isascii()
    for grid, body in zip(
        tables.grids, re.findall(r"\\begin\{tabular\}(.*?)\\end\{tabular\}", text, re.S), strict=True
    ):
        columns = re.match(r"\{(l r*|lr*)\}", body)
        assert columns is not None
        assert len(columns[1]) == len(grid.heads) + 1
        plain = [line for line in body.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
        assert len(plain) == len(grid.rows) + 1
        for line in plain:
            assert len(re.findall(r"(?<!\\)&", line)) == len(grid.heads)
        rules = [body.index(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")]
        assert rules == sorted(rules)
    assert "\\multicolumn{1}{c}{offline: has seen the test set}" in text
    assert "\\cmidrule(lr){2-3}\n\\cmidrule(lr){4-4}" in text
    bare = re.sub(r"\\[{}$&%#_\\]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0


def test_every_special_sign_of_tex_is_escaped() -> None:
    assert tex_text('50 % & $1_a {x}#~^\\ \n\u00b1<>|"') == (
        r"50 \% \& \$1\_a \{x\}\#\textasciitilde{}\textasciicircum{}\textbackslash{} $\pm$"
        r"\textless{}\textgreater{}\textbar{}\symbol{34}"
    )


def test_csv_cells_start_no_formula_and_numbers_read_back(content: dict[str, Any], planned: Planned) -> None:
    content["rows"] = {"low": {**content["rows"]["low"], "label": "=cmd()"}}
    made = planned(content)
    # A negative figure is a number and stays one.
    made_figures = figures([result(seed, value, f"s{seed}") for seed, value in enumerate((-0.1, -0.2))])
    [row] = csv.DictReader(io.StringIO(table_csv(made.experiment, made_figures)))
    assert row["label"] == "'=cmd()"
    assert float(row["mean"]) == made_figures[0].mean
    assert float(row["standard_error"]) == pytest.approx(0.05)
    assert row["paper"] == ""


def test_what_was_written_is_shown_again(grouped: tuple[Plan, Tables, Path]) -> None:
    made, tables, out = grouped
    assert read_tables(out) == tables
    before = {name: (out / name).read_bytes() for name in ("table.md", "table.tex", "table.csv", "results.csv")}
    write_results(made, out)
    assert before == {name: (out / name).read_bytes() for name in before}


def test_rows_in_several_columns_alone_make_no_column(content: dict[str, Any], planned: Planned) -> None:
    content["columns"] = {"a": "A", "b": "B"}
    for name, row in content["rows"].items():
        row["column"] = ["a", "b"] if name == "shipped" else "a"
    made = planned(content)
    assert [grid.groups for grid in build_tables(made, figures([])).grids] == []
    every = figures([Result(c.row.name, "first", c.seed, "auroc", "", "not run") for c in made.contexts])
    [grid] = build_tables(made, every).grids
    assert [title for title, _ in grid.groups] == ["A"]


def test_tables_without_groups_or_notes() -> None:
    tables = Tables("T", "Q", [Grid("G", [("", 2)], ["x", "y"], [("a", ["1", "2"])], "")], [], [])
    assert markdown(tables).endswith("|  | x | y |\n|---|---:|---:|\n| a | 1 | 2 |\n")
    assert "multicolumn" not in tex(tables)
