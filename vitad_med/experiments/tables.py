"""Figures laid out as tables of text: one for each data set and block of metrics, and the notes below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vitad_med.experiments.differences import differences, not_done
from vitad_med.experiments.document import Experiment, Metric, Reference
from vitad_med.experiments.planning import Plan
from vitad_med.experiments.results import Figure

PLUS_MINUS = "\u00b1"
MARKS = {"failed": "failed", "not run": "not run", "no figure": "-"}


@dataclass(frozen=True)
class Grid:
    """One table of text.

    Attributes:
        groups: title and number of columns of each group, in order; one group without a title where there are none.
        heads: of all columns after the first, which holds the labels of the rows.
        rows: label and cells.
    """

    title: str
    groups: list[tuple[str, int]]
    heads: list[str]
    rows: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Tables:
    """What is printed and written of an experiment.

    Attributes:
        notes: sentences below the tables.
        footnotes: texts of the marks (1), (2), ... in cells.
    """

    title: str
    question: str
    grids: list[Grid]
    notes: list[str]
    footnotes: list[str]


@dataclass
class _Footnotes:
    texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> str:
        """The mark of a note; equal notes share one."""
        if text not in self.texts:
            self.texts.append(text)
        return f" ({self.texts.index(text) + 1})"


def build_tables(plan: Plan, figures: Sequence[Figure]) -> Tables:
    """Lay out the figures of an experiment; the same figures give the same text."""
    experiment = plan.experiment
    footnotes = _Footnotes()
    blocks = dict.fromkeys(metric.block for metric in experiment.metrics.values())
    grids = [
        grid
        for data in experiment.data
        for block in blocks
        if (grid := _grid(experiment, figures, data, block, footnotes)) is not None
    ]
    return Tables(experiment.title, experiment.question, grids, _notes(plan, figures), footnotes.texts)


def _grid(
    experiment: Experiment, figures: Sequence[Figure], data: str, block: str, footnotes: _Footnotes
) -> Grid | None:
    metrics = [metric for metric in experiment.metrics.values() if metric.block == block]
    here = {(figure.row, figure.metric): figure for figure in figures if figure.data == data}
    rows = [row for row in experiment.rows.values() if data in row.data]
    lines: dict[str, list[str]] = {}
    for row in rows:
        lines.setdefault(row.label, [])
    groups: list[tuple[str, int]] = []
    heads: list[str] = []
    for column in experiment.columns or ("",):
        in_column = {row.label: row.name for row in rows if not experiment.columns or column in row.columns}
        shown = [metric for metric in metrics if any((name, metric.name) in here for name in in_column.values())]
        # A row that stands in several columns is there to be compared with; alone it makes no column.
        own = any(len(experiment.rows[name].columns) <= 1 for name in in_column.values())
        if not shown or not own:
            continue
        before = len(heads)
        for metric in shown:
            references = {name: _reference(experiment, name, data, metric) for name in in_column.values()}
            beside = any(references.values())
            paper = experiment.paper.title if experiment.paper is not None else ""
            heads += [metric.label, paper] if beside else [metric.label]
            for label, cells in lines.items():
                name = in_column.get(label)
                figure = here.get((name, metric.name)) if name is not None else None
                cells.append("" if figure is None else cell_text(figure, metric, footnotes))
                if beside:
                    cells.append(_reference_text(references.get(name or ""), metric, footnotes))
        heads.append("n")
        for label, cells in lines.items():
            of_row = [here[key] for metric in shown if (key := (in_column.get(label, ""), metric.name)) in here]
            cells.append(count_text(of_row))
        groups.append((experiment.columns.get(column, ""), len(heads) - before))
    if not heads:
        return None
    title = experiment.data[data].title + (f": {block}" if block else "")
    return Grid(title, groups, heads, [(label, cells) for label, cells in lines.items() if any(cells)])


def cell_text(figure: Figure, metric: Metric, footnotes: _Footnotes) -> str:
    """Mean and standard error, or why there is no figure; a mark where some runs have none."""
    marks = "".join(footnotes.mark(reason) for reason in figure.reasons)
    if figure.mean is None:
        return MARKS[figure.state] + marks
    return number_text(figure.mean, figure.error, metric) + marks


def number_text(value: float, error: float | None, metric: Metric) -> str:
    """``0.712 +- 0.004``, with the sign for plus or minus."""
    text = format(value, metric.format)
    return text if error is None else f"{text} {PLUS_MINUS} {format(error, metric.format)}"


def count_text(figures: Sequence[Figure]) -> str:
    """How many runs a row's figures are means of: ``3``, ``2 of 3`` with some missing, ``1 to 3`` where unequal."""
    texts = dict.fromkeys(f"{f.n}" if f.n == f.planned else f"{f.n} of {f.planned}" for f in figures)
    if len(texts) <= 1:
        return "".join(texts)
    return f"{min(f.n for f in figures)} to {max(f.n for f in figures)}"


def _reference(experiment: Experiment, row: str, data: str, metric: Metric) -> Reference | None:
    for one in experiment.references:
        if one.row == row and one.metric == metric.name and one.data in (None, data):
            return one
    return None


def _reference_text(reference: Reference | None, metric: Metric, footnotes: _Footnotes) -> str:
    if reference is None:
        return ""
    mark = footnotes.mark(reference.note) if reference.note else ""
    return number_text(reference.value, reference.error, metric) + mark


def _notes(plan: Plan, figures: Sequence[Figure]) -> list[str]:
    experiment = plan.experiment
    several = any(figure.error is not None for figure in figures)
    notes = [f"Scale: {experiment.scale}."] if experiment.scale else []
    notes.append(
        f"n: runs with different seeds; {PLUS_MINUS}: standard error of their mean."
        if several
        else "n: runs with different seeds."
    )
    if any(figure.state == "not run" for figure in figures):
        notes.append("not run: repeat the command to run what is missing.")
    notes += [f"{data.title}: {data.note}" for data in experiment.data.values() if data.note]
    notes += experiment.notes
    if experiment.paper is not None:
        found: dict[str, list[str]] = {}
        for difference in differences(plan):
            found.setdefault(difference.step, []).append(difference.text)
        told = [f"{step}: {', '.join(texts)}" for step, texts in found.items()]
        told += [f"{step}: not done here" for step in not_done(plan)]
        notes.append(f"Differs from {experiment.paper.title}: {'; '.join(told) or 'in no setting that is compared'}.")
        notes += experiment.paper.notes
    return notes
