"""Finding the map, picture and mask that belong to an image, inside their folder and nowhere else."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from vitad_med.errors import DataError
from vitad_med.predictions.layout import PICTURE_SUFFIXES
from vitad_med.predictions.table import Cell


class FileFolder:
    """A folder of files, listed once.

    Args:
        root: the folder, or None for one that is not there.
        suffixes: endings of the files that count, lower case.
    """

    def __init__(self, root: Path | None, suffixes: Sequence[str]) -> None:
        self.root = root
        self.suffixes = tuple(suffixes)
        self._names = _listed(root, self.suffixes) if root is not None else frozenset()
        self._used: set[str] = set()

    @property
    def unused(self) -> int:
        """Files of the folder that no image was given."""
        return len(self._names - self._used)

    def find(self, image: Cell, file: Cell) -> Path | None:
        """The file of an image: the one that its own cell names, else ``<image>`` with one of the suffixes.

        Returns:
            None where nothing is named and there is no such file.

        Raises:
            DataError: a named file is missing or lies elsewhere, or two files could be meant.
        """
        if file.text:
            check_inside(file)
            name = Path(file.text).as_posix()
            if self.root is None:
                raise file.error(f"'{file.text}' is named, but there is no folder of such files; make it, or give it")
            if name not in self._names:
                close = difflib.get_close_matches(name, self._names, n=1)
                hint = f"did you mean '{close[0]}'?" if close else f"endings are {', '.join(self.suffixes)}"
                raise file.error(f"{self.root} has no file '{file.text}'; {hint}")
        else:
            stems = [image.text]
            if image.text.lower().endswith(PICTURE_SUFFIXES):
                stems.append(image.text.rpartition(".")[0])
            candidates = [stem + suffix for stem in stems for suffix in self.suffixes]
            if image.text.lower().endswith(self.suffixes):
                candidates.append(image.text)
            found = [name for name in dict.fromkeys(candidates) if name in self._names]
            if len(found) > 1:
                raise image.error(
                    f"both {found[0]} and {found[1]} in {self.root} could belong to '{image.text}'; take one away, or "
                    f"name the right one in a column '{file.column}'"
                )
            if not found:
                return None
            name = found[0]
        self._used.add(name)
        return None if self.root is None else self.root / name


def check_inside(cell: Cell) -> None:
    """A file name, or the name of an image, which is the default of one, stays inside its folder.

    Raises:
        DataError: an absolute path, a drive, a backslash, or a step upwards.
    """
    parts = cell.text.split("/")
    if cell.text.startswith(("/", "~")) or ".." in parts or "\\" in cell.text or re.match("[A-Za-z]:/", cell.text):
        raise cell.error(f"'{cell.text}' leads out of the folder; give a name below it, with / between folders")


def _listed(root: Path, suffixes: tuple[str, ...]) -> frozenset[str]:
    if not root.is_dir():
        raise DataError(f"The folder {root} does not exist; give the folder that holds the files.")
    names = []
    for folder, _, files in os.walk(root):
        below = Path(folder).relative_to(root)
        names += [(below / file).as_posix() for file in files if file.lower().endswith(suffixes) and file[0] != "."]
    return frozenset(names)
