"""`vitad-med experiment`: run a comparison from a file, print its table again, or say what it would run."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from vitad_med.cli.exit_codes import EPILOG, FINDINGS, OK
from vitad_med.cli.parser import StrictParser
from vitad_med.errors import ConfigError

if TYPE_CHECKING:  # these take seconds to import; --help does not wait for them
    from vitad_med.experiments import Plan
    from vitad_med.experiments.tables import Grid, Tables

MIN_WIDTH = 80
BORDER = 3  # characters of a column's border and margins
MAX_LABEL = 28  # characters of a row's label on one line of the terminal

DESCRIPTION = """\
Run a comparison that a file describes: rows of bundle runs on data sets and seeds,
in one table with mean and standard error, the paper's figures and what differs.
docs/experiments.md describes the file."""

RUN = """\
Run what is missing of an experiment and write its tables to DIR: table.md,
table.tex, table.csv, results.csv and results.json. Steps that rows share are run
once, finished steps are never run again. A step that fails is named in the table
and the others go on; then the exit status is 1."""

PLAN = """\
Say which steps an experiment takes, which of them are finished in DIR, and how
long the others may take. Nothing is run or written."""

SHOW = "Print the tables that `experiment run` wrote."

EXAMPLES = """\
examples:
  vitad-med experiment run configs/experiments/demo.json --out outputs/demo_experiment
  vitad-med experiment plan configs/experiments/demo.json --out outputs/demo_experiment
  vitad-med experiment show outputs/demo_experiment
"""

RUN_EXAMPLES = """\
examples:
  vitad-med experiment run configs/experiments/demo.json --out outputs/demo_experiment
  vitad-med experiment run configs/experiments/bmvc2022_tta.json --scale small \\
      --data nih=/data/nih --data screw=/data/mvtec --out outputs/tta

Ctrl-C loses the step under way at most; the same command goes on from there.
"""

SHOW_EXAMPLES = """\
examples:
  vitad-med experiment show outputs/demo_experiment
"""


def add_command(commands: Any) -> None:
    """Add `experiment` with `run`, `plan` and `show` to the subparsers of `vitad-med`."""
    parser: StrictParser = commands.add_parser(
        "experiment",
        help="run a comparison and print its table",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    actions = parser.add_commands()
    running = actions.add_parser("run", help="run what is missing", description=RUN, epilog=f"{RUN_EXAMPLES}\n{EPILOG}")
    _add_file(running)
    running.add_argument("--out", required=True, metavar="DIR", help="folder of steps and tables")
    running.add_argument(
        "--tracking_uri",
        default="sqlite",
        metavar="URI",
        help="MLflow: sqlite (a file in DIR), none, or a URI (default: %(default)s)",
    )
    running.set_defaults(run=run, after_interrupt=": repeat the command to go on; finished steps are not run again")
    planning = actions.add_parser(
        "plan", help="what would run, what is there", description=PLAN, epilog=f"{EXAMPLES}\n{EPILOG}"
    )
    _add_file(planning)
    planning.add_argument("--out", metavar="DIR", help="folder of steps and tables; without it nothing is there")
    planning.set_defaults(run=plan)
    showing = actions.add_parser(
        "show", help="print the table again", description=SHOW, epilog=f"{SHOW_EXAMPLES}\n{EPILOG}"
    )
    showing.add_argument("folder", metavar="DIR", help="--out of `experiment run`")
    showing.set_defaults(run=show)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="e.g. configs/experiments/demo.json")
    parser.add_argument("--scale", metavar="NAME", help="one of the file's scales, e.g. small for two CPU cores")
    parser.add_argument(
        "--data", action="append", metavar="NAME=DIR", help="where a data set of the file lies; repeatable"
    )
    parser.add_argument("--rows", metavar="NAME,...", help="rows to run (default: all); the others stay as they are")


def run(options: argparse.Namespace) -> int:
    """Run the missing steps, print the tables; 1 where a step failed."""
    from vitad_med.experiments import run as run_experiment

    made = _plan(options)
    out = Path(options.out).expanduser().resolve()
    outcome = run_experiment(made, out, options.tracking_uri, lambda line: print(line, flush=True))
    print()
    _print(outcome.tables)
    print(f"\nWritten to {out}: table.md, table.tex, table.csv, results.csv, results.json")
    if outcome.failures or outcome.unread:
        print(f"{len(outcome.failures)} steps failed, {outcome.unread} figures could not be read: see above.")
        return FINDINGS
    return OK


def plan(options: argparse.Namespace) -> int:
    """Print every step with its state."""
    from vitad_med.durations import duration
    from vitad_med.experiments import missing_steps
    from vitad_med.experiments.records import read_done
    from vitad_med.experiments.runner import known_seconds, time_left

    made = _plan(options)
    out = Path(options.out).expanduser().resolve() if options.out else None
    missing = missing_steps(made, out)
    table = Table(title=made.experiment.title, title_justify="left")
    for name in ("step", "first needed by", "state"):
        table.add_column(name, overflow="fold")
    for step, planned in made.steps.items():
        done = read_done(out, planned) if out is not None else None
        if done is not None:
            state = f"finished in {duration(float(done['seconds']))}"
        elif step in missing:
            state = "to run"
        else:
            state = "not needed"
        table.add_row(Text(step), Text(planned.title), state)
    console = _console()
    console.print(table)
    left = time_left(made, missing, known_seconds(made, out)) if out is not None and missing else ""
    console.print(f"{len(missing)} of {len(made.steps)} steps to run{',' if left else ''}{left}", markup=False)
    return OK


def show(options: argparse.Namespace) -> int:
    """Print the tables of a folder."""
    from vitad_med.experiments import read_tables

    _print(read_tables(Path(options.folder).expanduser()))
    return OK


def _plan(options: argparse.Namespace) -> Plan:
    from vitad_med.experiments import plan as make_plan
    from vitad_med.experiments import read_experiment

    folders: dict[str, str] = {}
    for word in options.data or []:
        name, equals, folder = word.partition("=")
        if not equals or not name or not folder:
            raise ConfigError(f"--data {word}: write NAME=DIR, e.g. nih=/data/ChestX-ray14.")
        folders[name] = folder
    rows = tuple(dict.fromkeys(options.rows.split(","))) if options.rows else None
    return make_plan(read_experiment(options.file, options.scale), folders, rows)


def _console() -> Console:
    width = max(MIN_WIDTH, shutil.get_terminal_size().columns)
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)


def _print(tables: Tables) -> None:
    console = _console()
    parts: list[Any] = [Text(tables.title, style="bold"), Text(tables.question), Text()]
    for grid in tables.grids:
        tables_of_grid = [part for table in _tables(grid, console.width) for part in (table, Text())]
        note = [Text(grid.note, style="dim"), Text()] if grid.note else []
        # The note stands directly below the last of them.
        parts += [*tables_of_grid[:-1], *note] if note else tables_of_grid
    parts += [Text(f"({number}) {text}") for number, text in enumerate(tables.footnotes, 1)]
    parts += [Text(f"- {note}", style="dim") for note in tables.notes]
    console.print(Group(*parts))


def _tables(grid: Grid, width: int) -> list[Table]:
    """A grid in as many tables below one another as the terminal's width needs."""
    titles = [title for title, span in grid.groups for _ in range(span)]
    heads = [f"{title}\n{head}" if title else head for title, head in zip(titles, grid.heads, strict=True)]
    # No cell is broken; heads break at spaces.
    wide = [
        max(map(len, [*(cells[index] for _, cells in grid.rows), *head.split()])) for index, head in enumerate(heads)
    ]
    first = min(max(len(label) for label, _ in grid.rows), MAX_LABEL)
    parts: list[list[int]] = [[]]
    for index in range(len(heads)):
        taken = 1 + BORDER + first + sum(BORDER + wide[i] for i in [*parts[-1], index])
        if parts[-1] and taken > width:
            parts.append([])
        parts[-1].append(index)
    tables = []
    for part in parts:
        title = grid.title if part is parts[0] else f"{grid.title} (continued)"
        table = Table(title=Text(title, style="bold"), title_justify="left")
        table.add_column("", width=first)
        for index in part:
            table.add_column(Text(heads[index]), justify="right", vertical="bottom", width=wide[index])
        for label, cells in grid.rows:
            table.add_row(Text(label), *(Text(cells[index]) for index in part))
        tables.append(table)
    return tables
