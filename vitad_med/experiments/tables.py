"""Figures laid out as tables of text: one for each data set and block of metrics, and the notes below them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from vitad_med.experiments.differences import differences, not_done
from vitad_med.experiments.document import Data, Experiment, Metric, Reference
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
        note: stands below it: of how many seeds the figures are means, and what the seeds vary; may be empty.
    """

    title: str
    groups: list[tuple[str, int]]
    heads: list[str]
    rows: list[tuple[str, list[str]]]
    note: str


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
    grids = []
    for family, parts in experiment.families().items():
        divided = bool(parts[0].part)
        for block in blocks:
            grid = _grid(experiment, figures, family, block, footnotes)
            grids += [] if grid is None else [grid]
            for metric in experiment.metrics.values():
                if divided and grid is not None and metric.block == block:
                    grids += _parts_grid(experiment, figures, parts, metric, footnotes)
    return Tables(experiment.title, experiment.question, grids, _notes(plan, figures), footnotes.texts)


def _grid(
    experiment: Experiment, figures: Sequence[Figure], family: str, block: str, footnotes: _Footnotes
) -> Grid | None:
    """The table of one block of metrics on a data set, whose parts are told by their mean."""
    parts = experiment.families()[family]
    metrics = [metric for metric in experiment.metrics.values() if metric.block == block]
    here = {(figure.row, figure.metric): figure for figure in figures if figure.data == family}
    rows = [row for row in experiment.rows.values() if any(part.name in row.data for part in parts)]
    block_figures = [figure for figure in here.values() if experiment.metrics[figure.metric].block == block]
    usual = usual_count(block_figures)
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
            references = {name: _reference(experiment, name, family, metric) for name in in_column.values()}
            beside = any(references.values())
            paper = experiment.paper.title if experiment.paper is not None else ""
            heads += [metric.label, paper] if beside else [metric.label]
            for label, cells in lines.items():
                name = in_column.get(label)
                figure = here.get((name, metric.name)) if name is not None else None
                cells.append("" if figure is None else cell_text(figure, metric, usual, footnotes))
                if beside:
                    cells.append(_reference_text(references.get(name or ""), metric, footnotes))
        groups.append((experiment.columns.get(column, ""), len(heads) - before))
    if not heads:
        return None
    title = parts[0].title + (f": {block}" if block else "")
    written = [(label, cells) for label, cells in lines.items() if any(cells)]
    note = _parts_note(block_figures, parts) if parts[0].part else _seeds_note(experiment, block_figures, usual)
    return Grid(title, groups, heads, written, note)


def _parts_grid(
    experiment: Experiment, figures: Sequence[Figure], parts: Sequence[Data], metric: Metric, footnotes: _Footnotes
) -> list[Grid]:
    """One metric on every part of a data set, a line for each row and one for what was published of it."""
    names = [part.name for part in parts]
    here = {(f.row, f.data): f for f in figures if f.metric == metric.name and f.data in names}
    usual = usual_count(list(here.values()))
    lines: list[tuple[str, list[str]]] = []
    for row in experiment.rows.values():
        found = [here.get((row.name, name)) for name in names]
        if not any(found):
            continue
        where = f" ({', '.join(row.columns)})" if row.columns else ""
        cells = ["" if figure is None else cell_text(figure, metric, usual, footnotes) for figure in found]
        lines.append((row.label + where, cells))
        published = [_reference(experiment, row.name, name, metric, of_all=False) for name in names]
        if experiment.paper is not None and any(published):
            texts = [_reference_text(one, metric, footnotes) for one in published]
            lines.append((f"{row.label}{where}, {experiment.paper.title}", texts))
    if not lines:
        return []
    [key] = parts[0].every
    title = f"{parts[0].title}: {f'{metric.block}, ' if metric.block else ''}{metric.label} by {key}"
    note = _seeds_note(experiment, list(here.values()), usual)
    return [Grid(title, [("", len(parts))], [part.part for part in parts], lines, note)]


def cell_text(figure: Figure, metric: Metric, usual: str, footnotes: _Footnotes) -> str:
    """Mean and standard error, or why there is no figure; its number of runs where that is not the usual one.

    Marks lead to the reasons why some runs have none.
    """
    marks = "".join(footnotes.mark(reason) for reason in figure.reasons)
    if figure.mean is None:
        return MARKS[figure.state] + marks
    count = count_text(figure)
    own = "" if count == usual else f" (n = {count})"
    spread = figure.error if figure.deviation is None else figure.deviation
    return number_text(figure.mean, spread, metric) + own + marks


def number_text(value: float, error: float | None, metric: Metric) -> str:
    """``0.712 +- 0.004``, with the sign for plus or minus."""
    text = format(value, metric.format)
    return text if error is None else f"{text} {PLUS_MINUS} {format(error, metric.format)}"


def count_text(figure: Figure) -> str:
    """How many runs a figure is the mean of: ``3``, or ``2 of 3`` with one missing."""
    return f"{figure.n}" if figure.n == figure.planned else f"{figure.n} of {figure.planned}"


def usual_count(figures: Sequence[Figure]) -> str:
    """The number of runs that most of the figures have, of equally many the larger; empty without a figure."""
    counts = Counter((count_text(figure), figure.n) for figure in figures if figure.mean is not None)
    return max(counts, key=lambda count: (counts[count], count[1]))[0] if counts else ""


def _seeds_note(experiment: Experiment, figures: Sequence[Figure], usual: str) -> str:
    """``n = 3 seeds``, what the sign for plus or minus is, and what the seeds vary, in the experiment's own words."""
    if not usual:
        return ""
    there = [figure for figure in figures if figure.mean is not None]
    seeds = "1 seed" if usual == "1" else f"{usual} seeds"
    alike = all(count_text(figure) == usual for figure in there)
    sentences = [f"n = {seeds}." if alike else f"n = {seeds} where no other number is given."]
    if any(figure.error is not None for figure in there):
        sentences.append(f"{PLUS_MINUS}: standard error of the mean over seeds.")
        if experiment.seeds_vary is not None:
            sentences.append(f"What the seeds vary: {experiment.seeds_vary.rstrip('.')}.")
    published = [_reference(experiment, f.row, f.data, experiment.metrics[f.metric]) for f in figures]
    if experiment.paper is not None and any(one is not None and one.error is not None for one in published):
        sentences.append(f"{experiment.paper.title}: {PLUS_MINUS} as published.")
    return " ".join(sentences)


def _parts_note(figures: Sequence[Figure], parts: Sequence[Data]) -> str:
    """What a mean over the parts of a data set is."""
    [key] = parts[0].every
    sentences = [f"Mean over {len(parts)} data sets, each trained and evaluated by itself, one for each {key}."]
    if any(figure.deviation is not None for figure in figures):
        sentences.append(f"{PLUS_MINUS}: standard deviation over them; it says nothing of how sure the mean is.")
    return " ".join(sentences)


def _reference(experiment: Experiment, row: str, data: str, metric: Metric, of_all: bool = True) -> Reference | None:
    """What was published of a row; ``of_all`` accepts a figure that is said of no one data set."""
    for one in experiment.references:
        if one.row == row and one.metric == metric.name and (one.data == data or (of_all and one.data is None)):
            return one
    return None


def _reference_text(reference: Reference | None, metric: Metric, footnotes: _Footnotes) -> str:
    if reference is None:
        return ""
    mark = footnotes.mark(reference.note) if reference.note else ""
    return number_text(reference.value, reference.error, metric) + mark


def _notes(plan: Plan, figures: Sequence[Figure]) -> list[str]:
    experiment = plan.experiment
    notes = [f"Scale: {experiment.scale}."] if experiment.scale else []
    if any(figure.state == "not run" for figure in figures):
        notes.append("not run: repeat the command to run what is missing.")
    notes += [f"{parts[0].title}: {parts[0].note}" for parts in experiment.families().values() if parts[0].note]
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
