"""Tables as Markdown, LaTeX and CSV: the same bytes for the same figures."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from vitad_med.experiments.document import Experiment
from vitad_med.experiments.results import Figure, Result
from vitad_med.experiments.tables import PLUS_MINUS, Grid, Tables
from vitad_med.predictions.identifiers import safe_cell
from vitad_med.reporting.texts.markdown import escape

RESULT_COLUMNS = ("row", "label", "column", "data", "seed", "metric", "value", "state", "reason", "step")
TABLE_COLUMNS = (
    *("data", "block", "row", "label", "column", "metric", "mean", "standard_error", "standard_deviation"),
    *("n", "planned"),
    *("paper", "paper_error", "state", "reason"),
)

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",  # \textquotedbl is not in LaTeX's default encoding
    PLUS_MINUS: r"$\pm$",
}
_TEX_SIGNS = re.compile("[" + re.escape("".join(_TEX)) + "]")


def markdown(tables: Tables) -> str:
    """GitHub's Markdown; a group's title stands above its column's."""
    parts = [f"# {escape(tables.title)}", escape(tables.question)]
    for grid in tables.grids:
        heads = ["", *_grouped_heads(grid)]
        lines = [_pipes(heads), "|---|" + "---:|" * len(grid.heads)]
        lines += [_pipes([escape(label), *map(escape, cells)]) for label, cells in grid.rows]
        parts += [f"## {escape(grid.title)}", "\n".join(lines)]
        parts += [escape(grid.note)] if grid.note else []
    parts += [f"({number}) {escape(text)}" for number, text in enumerate(tables.footnotes, 1)]
    if tables.notes:
        parts.append("\n".join(f"- {escape(note)}" for note in tables.notes))
    return "\n\n".join(parts) + "\n"


def _grouped_heads(grid: Grid) -> list[str]:
    titles = [title for title, span in grid.groups for _ in range(span)]
    return [
        f"{escape(title)}<br>{escape(head)}" if title else escape(head)
        for title, head in zip(titles, grid.heads, strict=True)
    ]


def _pipes(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def tex(tables: Tables) -> str:
    """LaTeX to be read in by ``\\input``: a ``table`` with booktabs for each grid, notes as a paragraph."""
    parts = ["% needs \\usepackage{booktabs}", *(_tex_table(grid, tables) for grid in tables.grids)]
    footnotes = [f"({number}) {tex_text(text)}" for number, text in enumerate(tables.footnotes, 1)]
    notes = [*footnotes, *map(tex_text, tables.notes)]
    if notes:
        parts.append("\\par\\noindent\\footnotesize\n" + " \\\\\n".join(notes) + "\n\\par\\normalsize")
    return "\n\n".join(parts) + "\n"


def _tex_table(grid: Grid, tables: Tables) -> str:
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{tex_text(tables.title)}. {tex_text(grid.title)}}}",
        f"\\begin{{tabular}}{{l{'r' * len(grid.heads)}}}",
        "\\toprule",
    ]
    if any(title for title, _ in grid.groups):
        spans = [f"\\multicolumn{{{span}}}{{c}}{{{tex_text(title)}}}" for title, span in grid.groups]
        lines.append(" & ".join(["", *spans]) + " \\\\")
        start = 2
        for _, span in grid.groups:
            lines.append(f"\\cmidrule(lr){{{start}-{start + span - 1}}}")
            start += span
    lines += [" & ".join(["", *map(tex_text, grid.heads)]) + " \\\\", "\\midrule"]
    lines += [" & ".join(map(tex_text, [label, *cells])) + " \\\\" for label, cells in grid.rows]
    note = [f"\\par\\smallskip{{\\footnotesize {tex_text(grid.note)}\\par}}"] if grid.note else []
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", *note, "\\end{table}"])


def tex_text(text: str) -> str:
    """Text on one line in which no sign means anything to LaTeX."""
    line = _TEX_SIGNS.sub(lambda found: _TEX[found[0]], " ".join(text.split()))
    # After a line break or a rule, LaTeX would take these for its option or star.
    return "{}" + line if line.startswith(("[", "*")) else line


def results_csv(experiment: Experiment, results: Sequence[Result]) -> str:
    """A line for each row, data set, seed and metric."""
    lines: list[Sequence[Any]] = [RESULT_COLUMNS]
    for result in results:
        row = experiment.rows[result.row]
        head = (row.name, row.label, " ".join(row.columns), result.data, result.seed, result.metric)
        lines.append((*head, _number(result.value), result.state, result.reason or "", result.step))
    return _csv(lines)


def table_csv(experiment: Experiment, figures: Sequence[Figure]) -> str:
    """A line for each row, data set and metric: mean over seeds, or over a data set's parts; the paper's."""
    references = {(one.row, one.metric, one.data): one for one in experiment.references}
    lines: list[Sequence[Any]] = [TABLE_COLUMNS]
    for figure in figures:
        row, metric = experiment.rows[figure.row], experiment.metrics[figure.metric]
        places = ((row.name, metric.name, data) for data in (figure.data, None))
        paper = next((references[place] for place in places if place in references), None)
        lines.append(
            (
                *(figure.data, metric.block, row.name, row.label, " ".join(row.columns), metric.name),
                *(_number(figure.mean), _number(figure.error), _number(figure.deviation), figure.n, figure.planned),
                *(_number(paper.value if paper else None), _number(paper.error if paper else None)),
                *(figure.state, "; ".join(figure.reasons)),
            )
        )
    return _csv(lines)


def _number(value: float | None) -> str:
    """The shortest text that reads back as the same number."""
    return "" if value is None else repr(value)


def _csv(lines: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    # Numbers are ours; a minus sign of theirs starts no formula.
    for line in lines:
        writer.writerow([cell if _is_number(cell) else safe_cell(str(cell)) for cell in line])
    return buffer.getvalue()


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
