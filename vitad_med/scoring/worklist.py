"""``worklist.csv`` and ``worklist.parquet``: every file of the folder, the most suspicious first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from vitad_med.predictions.identifiers import safe_cell
from vitad_med.scoring.rows import Row

COLUMNS = (
    "image",
    "study",
    "patient",
    "score",
    "p_value",
    "flagged",
    "sex",
    "view",
    "age",
    "modality",
    "manufacturer",
    "outside_intended_use",
    "notes",
    "set_aside",
    "detail",
    "file",
)
SEPARATOR = "|"

_TYPES = {"score": pa.float64(), "p_value": pa.float64(), "flagged": pa.bool_(), "age": pa.int16()}


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Scored files, highest score first; then the others by reason. Ties by hashed name: nothing tells of folders."""
    return sorted(rows, key=lambda row: (row.score is None, -(row.score or 0.0), row.set_aside, row.image, row.file))


def worklist_csv(rows: Sequence[Row]) -> bytes:
    """UTF-8, a header line, empty cells for what is not known; several words of a cell are joined by ``|``."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(value) for value in _values(row)])
    return stream.getvalue().encode()


def worklist_parquet(rows: Sequence[Row]) -> bytes:
    """The same table with types: numbers, a boolean, text."""
    columns = list(zip(*(_values(row) for row in rows), strict=True)) or [()] * len(COLUMNS)
    arrays = [
        pa.array(list(column), type=_TYPES.get(name, pa.string()))
        for name, column in zip(COLUMNS, columns, strict=True)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(zip(COLUMNS, arrays, strict=True))), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _values(row: Row) -> list[str | float | int | bool | None]:
    joined = {"outside_intended_use": SEPARATOR.join(row.outside), "notes": SEPARATOR.join(row.notes)}
    return [joined[name] if name in joined else getattr(row, name) for name in COLUMNS]


def _cell(value: str | float | int | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return safe_cell(value) if isinstance(value, str) else str(value)
