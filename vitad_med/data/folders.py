"""Looking into data set folders."""

from __future__ import annotations

import os
from pathlib import Path

from vitad_med.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def dataset_folder(dataset_dir: str | Path) -> Path:
    """The folder as a Path.

    Raises:
        DataError: it does not exist, is no folder, or is empty.
    """
    root = Path(dataset_dir).expanduser()
    if not root.is_dir():
        raise DataError(f"dataset_dir {root} is not a folder; give the folder of the data set.")
    if not any(root.iterdir()):
        raise DataError(f"dataset_dir {root} is empty; give the folder of the data set.")
    return root


def images_in(folder: Path) -> list[Path]:
    """Image files directly in `folder`, by their suffix, sorted by name; hidden files are left out."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return [
        folder / name
        for name in sorted(names)
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
    ]
