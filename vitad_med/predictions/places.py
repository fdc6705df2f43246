"""Where the files of a run lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vitad_med.errors import DataError
from vitad_med.predictions import layout
from vitad_med.predictions.stored_files import FileFolder


@dataclass(frozen=True)
class Places:
    """The tables and folders of one run; what is not there is None or an empty folder."""

    table: Path
    boxes: Path | None
    journal: Path | None
    maps: FileFolder
    images: FileFolder
    masks: FileFolder


def find_places(path: Path, maps: str | Path | None = None, images: str | Path | None = None) -> Places:
    """Look for ``boxes.csv``, ``run.json`` and the folders beside the table.

    Args:
        path: output folder of an evaluation, folder with ``predictions.csv``, or CSV file.
        maps: folder of the maps in place of ``maps/``.
        images: folder of the pictures in place of ``images/``.

    Raises:
        DataError: no table there, or a given folder that does not exist.
    """
    table = _table(path.expanduser())
    folder = table.parent

    def beside(name: str, given: str | Path | None, suffixes: tuple[str, ...]) -> FileFolder:
        default = folder / name
        root = Path(given).expanduser() if given is not None else default if default.is_dir() else None
        return FileFolder(root, suffixes)

    boxes, journal = folder / layout.BOX_TABLE, folder / layout.JOURNAL
    return Places(
        table,
        boxes if boxes.is_file() else None,
        journal if journal.is_file() else None,
        beside(layout.MAPS, maps, layout.MAP_SUFFIXES),
        beside(layout.IMAGES, images, layout.PICTURE_SUFFIXES),
        beside(layout.MASKS, None, layout.PICTURE_SUFFIXES),
    )


def _table(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give the output_dir of an evaluation, or a table of scores (CSV).")
    for table in (path / layout.FOLDER / layout.TABLE, path / layout.TABLE):
        if table.is_file():
            return table
    tables = sorted(file.name for file in path.glob("*.csv"))
    hint = f"; of its tables ({', '.join(tables)}) give the one with the scores" if tables else ""
    if (path / "metrics.json").is_file():
        hint = "; it is an evaluation without predictions: evaluate again with --keep_predictions True"
    raise DataError(f"{path} holds no {layout.FOLDER}/{layout.TABLE} and no {layout.TABLE}{hint}.")
