"""The tables and lists of NIH ChestX-ray14 (Wang et al., CVPR 2017), as published and as commonly re-packed.

Every function reads one file, plain or gzip, and returns a table keyed by `stem`, the image name without its suffix, so
that copies stored as JPEG match. Nothing here looks at image files.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path

import pandas as pd

from vitad_med.data.case import UNKNOWN
from vitad_med.errors import DataError

ENTRY_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
BOX_TABLE = "BBox_List_2017.csv"
TRAIN_VAL_LIST = "train_val_list.txt"
TEST_LIST = "test_list.txt"

NO_FINDING = "No Finding"
BOX_UNITS = 1024.0  # boxes are in pixels of the 1024 x 1024 release, whatever the size of the copy
OLDEST_AGE = 120.0  # the 2017 table holds ages such as 411
FINDING_SPELLINGS = {"Infiltrate": "Infiltration"}  # the box table's spelling -> the entry table's

_ENTRY_COLUMNS = {
    "Image Index": "name",
    "Finding Labels": "findings",
    "Patient ID": "patient_id",
    "Patient Age": "age",
    "Patient Gender": "sex",
    "View Position": "view",
}
_YEARS_PER_UNIT = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def find_table(dataset_dir: Path, *names: str) -> Path:
    """First of `names` in the folder, plain or with ``.gz``.

    Raises:
        DataError: none is there.
    """
    for name in names:
        for path in (dataset_dir / name, dataset_dir / f"{name}.gz"):
            if path.is_file():
                return path
    raise DataError(
        f"{dataset_dir} has no {' or '.join(names)} (plain or .gz); point dataset_dir at the ChestX-ray14 folder that "
        "holds the tables, and download the missing one from https://nihcc.app.box.com/v/ChestXray-NIHCC."
    )


def read_entries(path: Path) -> pd.DataFrame:
    """Read ``Data_Entry_2017.csv`` (with its trailing comma and ages such as ``058Y``) or ``_v2020``.

    Returns:
        One row an image in file order: name, stem, findings (labels joined by ``|``, as published), patient_id (eight
        digits), age (years as written, impossible ones included; NaN when empty), sex (M, F, unknown), view (PA, AP,
        unknown). Repeated rows are kept: the caller decides.
    """
    text = _text(path)
    header = _header(text, path)
    absent = [column for column in _ENTRY_COLUMNS if column not in header]
    if absent:
        raise DataError(f"{path} has no column {absent[0]!r}; it is not the Data_Entry table of ChestX-ray14.")
    # index_col=False: rows that end in a comma the header lacks must not turn the first column into an index.
    table = _parse(path, text, usecols=list(_ENTRY_COLUMNS), dtype=str, index_col=False, keep_default_na=False)
    table = table.rename(columns=_ENTRY_COLUMNS)[list(_ENTRY_COLUMNS.values())]
    if table.empty:
        raise DataError(f"{path} has a header and no rows; download it again.")
    for column in table:
        table[column] = table[column].str.strip()
    table.insert(1, "stem", _stems(table["name"]))
    empty = (table["name"] == "") | (table["patient_id"] == "") | (table["findings"] == "")
    if empty.any():
        row = int(empty.to_numpy().argmax())
        raise DataError(f"{path}: line {row + 2} lacks an image name, a patient ID or finding labels; mend that line.")
    table["patient_id"] = table["patient_id"].str.zfill(8)
    table["age"] = _years(table["age"], path)
    table["sex"] = table["sex"].where(table["sex"].isin(["M", "F"]), UNKNOWN)
    table["view"] = table["view"].where(table["view"].isin(["PA", "AP"]), UNKNOWN)
    return table


def read_boxes(path: Path) -> pd.DataFrame:
    """Read ``BBox_List_2017.csv``, whose header breaks ``Bbox [x,y,w,h]`` over four columns and adds empty ones.

    Returns:
        One row a box in file order: stem, finding (spelled as in the entry table), x, y, width, height as fractions of
        the image (published values divided by 1024).
    """
    text = _text(path)
    header = _header(text, path)
    if [cell.lower() for cell in header[:2]] != ["image index", "finding label"] or len(header) < 6:
        raise DataError(f"{path} does not begin with 'Image Index,Finding Label,Bbox [x,y,w,h]'; it is no box table.")
    names = ["name", "finding", "x", "y", "width", "height"]
    table = _parse(path, text, header=None, skiprows=1, usecols=range(6), dtype=str, index_col=False)
    table.columns = pd.Index(names)
    for column in names[2:]:
        numbers = pd.to_numeric(table[column], errors="coerce")
        if numbers.isna().any():
            row = int(numbers.isna().to_numpy().argmax())
            raise DataError(f"{path}: line {row + 2} has no number for {column} of the box; mend that line.")
        table[column] = numbers / BOX_UNITS
    table.insert(0, "stem", _stems(table["name"].str.strip()))
    table["finding"] = table["finding"].str.strip().replace(FINDING_SPELLINGS)
    return table.drop(columns="name")


def read_list(path: Path) -> list[str]:
    """Stems of an official list, one image name a line, in file order; empty lines are skipped."""
    stems = [line.strip().rsplit(".", 1)[0] for line in _text(path).splitlines() if line.strip()]
    if not stems:
        raise DataError(f"{path} names no image; download the list again.")
    return stems


def _stems(names: pd.Series) -> pd.Series:
    return names.str.rsplit(".", n=1).str[0]


def _years(ages: pd.Series, path: Path) -> pd.Series:
    """``58``, ``058Y``, ``013M``, ``005D`` -> years; empty -> NaN."""
    years = {"": float("nan")}
    for text in ages.unique():  # about a hundred different ones in 112,120 rows
        parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([YMWD]?)", text.upper())
        if parts:
            years[text] = float(parts[1]) * _YEARS_PER_UNIT[parts[2]]
        elif text:
            row = ages.tolist().index(text)
            raise DataError(f"{path}: line {row + 2} has the age {text!r}; write years, or leave it empty.")
    return ages.map(years).astype(float)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {path}: {error}; download the file again.") from error


def _header(text: str, path: Path) -> list[str]:
    first = text.split("\n", 1)[0].strip()
    if not first:
        raise DataError(f"{path} is empty; download the file again.")
    return [cell.strip() for cell in next(csv.reader([first]))]


def _parse(path: Path, text: str, **options: object) -> pd.DataFrame:
    try:
        return pd.read_csv(io.StringIO(text), **options)  # type: ignore[call-overload]
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise DataError(f"Cannot parse {path}: {error}; download the file again.") from error
