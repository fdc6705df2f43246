"""Reading a CSV table strictly: every mistake is told with file, line and column."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitad_med.errors import DataError
from vitad_med.predictions.identifiers import plain_cell


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with its place, so that whoever finds it wrong can say where it is."""

    path: Path
    line: int
    column: str
    text: str

    def error(self, problem: str) -> DataError:
        """An error of this cell: what is wrong with it and the remedy."""
        return DataError(f"{self.path}, line {self.line}, column '{self.column}': {problem}.")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table; a column that it lacks is an empty cell."""

    path: Path
    line: int
    texts: dict[str, str]

    def __getitem__(self, column: str) -> Cell:
        return Cell(self.path, self.line, column, self.texts.get(column, ""))


def read_table(path: Path, required: Sequence[str], known: Collection[str]) -> tuple[list[str], list[Row]]:
    """Read a comma-separated UTF-8 table with a header line.

    Spaces around cells and empty lines are dropped, and so is a last column without name or content. An apostrophe
    that keeps a spreadsheet from running a cell is taken away.

    Args:
        path: the file.
        required: columns that it must have.
        known: names with a meaning; a header that differs from one in case alone is refused.

    Returns:
        The column names, and one row a line.

    Raises:
        DataError: not UTF-8, other separators, a missing, repeated or misspelt column, ragged lines, no line at all.
    """
    text = _text(path)
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header, required, known)
        names = header[:-1] if header[-1] == "" else header
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num} has {len(cells)} cells, the header has {len(header)}; "
                    "put a cell that holds a comma in double quotes."
                )
            if len(names) < len(header) and cells[-1].strip():
                raise DataError(f"{path}, line {reader.line_num}: the last cell has no column name; name the column.")
            plain = (plain_cell(cell.strip()) for cell in cells)
            rows.append(Row(path, reader.line_num, dict(zip(names, plain, strict=False))))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num} is not CSV ({error}); write the table again.") from error
    return names, rows


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}; give a table that exists.") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16; save it as 'CSV UTF-8'.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"0x{data[error.start]:02x}"
        raise DataError(
            f"{path}, line {line} is not UTF-8 (byte {byte}), perhaps Latin-1; save it as 'CSV UTF-8'."
        ) from error


def _check_header(path: Path, header: list[str], required: Sequence[str], known: Collection[str]) -> None:
    if not any(header):
        raise DataError(f"{path} is empty; its first line must name the columns {', '.join(required)}.")
    if len(header) == 1:
        for separator, name in ((";", "semicolons"), ("\t", "tabs")):
            if separator in header[0]:
                raise DataError(f"{path} separates its columns by {name}; save it with commas, and decimal points.")
    if "" in header[:-1]:
        raise DataError(f"{path}: column {header.index('') + 1} has no name; name it, or take it away.")
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"{path} has {header.count(name)} columns named '{name}'; keep one.")
    for name in header:
        if name not in known and name.lower() in known:
            raise DataError(f"{path}: column '{name}' must be written '{name.lower()}'.")
    for name in required:
        if name not in header:
            close = [other for other in header if name in other.lower()] or difflib.get_close_matches(name, header)
            hint = f"rename '{close[0]}' if that is it" if close else "add it"
            raise DataError(f"{path} has no column '{name}'; it has {', '.join(filter(None, header))}: {hint}.")
