"""What a check of a data set found, and how it is printed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Severity = Literal["error", "warning"]
EXAMPLES = 3  # named in a printed line


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem and everything that has it.

    Attributes:
        severity: ``error``: training or evaluation would stop or mislead; ``warning``: worth knowing.
        code: short constant name, e.g. ``patient_leak``.
        message: what `items` have in common, or a sentence where there are none.
        items: every file, patient or row concerned.
    """

    severity: Severity
    code: str
    message: str
    items: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.severity}: {self.message}"
        if self.items:
            more = len(self.items) - EXAMPLES
            text += f": {len(self.items)} ({', '.join(self.items[:EXAMPLES])}{f' and {more} more' if more > 0 else ''})"
        return text


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """Counts of one cell of split, sex and view; `group` is a MVTec category or empty."""

    split: str
    group: str
    sex: str
    view: str
    images: int
    patients: int
    normal: int
    abnormal: int
    localized: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """Result of a check.

    Attributes:
        dataset_dir: the folder.
        kind: ``chestxray14`` or ``mvtec``.
        rows: the summary, one row a cell, sorted.
        problems: errors first.
        split_sha256: `vitad_med.data.splits.split_digest` of the whole data set.
        decoded: how many image files were decoded.
    """

    dataset_dir: Path
    kind: str
    rows: tuple[SummaryRow, ...]
    problems: tuple[Problem, ...]
    split_sha256: str
    decoded: int

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that stop or mislead training and evaluation."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings may exist."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return asdict(self) | {"dataset_dir": str(self.dataset_dir)}

    def print(self, console: Console) -> None:
        """Print table, digest and problems."""
        console.print(self._table())
        console.print(f"SHA-256 of the split: {self.split_sha256}", highlight=False, soft_wrap=True)
        console.print(f"Decoded {self.decoded} image files.", highlight=False)
        for problem in self.problems:
            style = "red" if problem.severity == "error" else "yellow"
            console.print(escape(str(problem)), style=style, highlight=False, soft_wrap=True)
        if not self.problems:
            console.print("No problem found.", style="green")

    def to_text(self, width: int = 100) -> str:
        """What `print` shows, as plain text."""
        stream = io.StringIO()
        self.print(Console(file=stream, width=width, no_color=True))
        return stream.getvalue()

    def _table(self) -> Table:
        table = Table(title=escape(f"{self.kind}: {self.dataset_dir}"), title_justify="left")
        groups = any(row.group for row in self.rows)
        people = self.kind == "chestxray14"
        names = ["split", *(["category"] if groups else []), *(["sex", "view"] if people else [])]
        counts = ["images", *(["patients"] if people else []), "normal", "abnormal", "localized"]
        for name in names:
            table.add_column(name)
        for name in counts:
            table.add_column(name, justify="right")
        for row in self.rows:
            cells = [row.split, *([row.group] if groups else []), *([row.sex, row.view] if people else [])]
            cells += [f"{getattr(row, name):,}" for name in counts]
            table.add_row(*(escape(cell) for cell in cells))
        return table


def sorted_problems(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Errors first, otherwise in the given order."""
    return tuple(sorted(problems, key=lambda problem: problem.severity))
