"""What commands that write and show one file have in common: where it goes, and the table of what it holds."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vitad_med.errors import ConfigError, StorageError

MIN_WIDTH = 80


def out_file(out: str | None, example: str) -> Path:
    """Where the result goes; found out before minutes are spent.

    Raises:
        ConfigError: ``--out`` is missing; the message has the example.
        StorageError: it is a folder.
    """
    if out is None:
        raise ConfigError(f"--out is missing: give the file to write, e.g. --out {example}.")
    path = Path(out).expanduser()
    if path.is_dir():
        raise StorageError(f"--out '{out}' is a folder: give the file to write.")
    return path


def print_facts(title: str, rows: Iterable[tuple[str, str]], path: str | Path, digest: str) -> None:
    """Print names and values in a table, and below it the file and the start of its digest."""
    console = Console(file=sys.stdout, width=max(MIN_WIDTH, shutil.get_terminal_size().columns), highlight=False)
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in rows:
        table.add_row(name, value)
    console.print(table, markup=False)
    console.print(f"{path}, digest {digest[:12]}.", markup=False, soft_wrap=True)
