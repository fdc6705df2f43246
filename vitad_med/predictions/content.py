"""One pass over every file of a run: its digest, and whether maps can be used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from vitad_med.digests import file_digest
from vitad_med.errors import DataError
from vitad_med.predictions.maps import check_aspect, picture_size, read_map
from vitad_med.predictions.places import Places
from vitad_med.predictions.rows import Entry


def check_content(entries: Sequence[Entry], places: Places) -> tuple[str, list[int]]:
    """Read every map, picture and mask file once.

    Returns:
        SHA-256 over tables, journal and all files, equal wherever they lie; and the positions of the entries whose map
        holds NaN or infinite values.

    Raises:
        DataError: a file that cannot be read, or a map or mask that contradicts its image in size.
    """
    sha = hashlib.sha256()
    for role, path in (("table", places.table), ("boxes", places.boxes), ("journal", places.journal)):
        sha.update(f"{role} {_digest(path)}\n".encode())
    not_finite = []
    # Hashing and reading leave Python's lock; results come in the order of the entries, and so does the first error.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for index, (line, finite) in enumerate(pool.map(_check_entry, entries)):
            sha.update(line.encode())
            if not finite:
                not_finite.append(index)
    return sha.hexdigest(), not_finite


def _check_entry(entry: Entry) -> tuple[str, bool]:
    """Digests of an entry's files as a line, and whether its map is finite."""
    mask = entry.case.mask_path
    line = f"{_digest(entry.map_file)} {_digest(entry.image_file)} {_digest(mask)}\n"
    image_size = None if entry.image_file is None else picture_size(entry.image_file)
    finite = True
    if entry.map_file is not None:
        values = read_map(entry.map_file)
        finite = bool(np.isfinite(values).all())
        if image_size is not None:
            height, width = values.shape
            check_aspect("Map", entry.map_file, (height, width), image_size)
    if mask is not None and image_size is not None:
        check_aspect("Mask", mask, picture_size(mask), image_size)
    return line, finite


def _digest(path: Path | None) -> str:
    if path is None:
        return "-"
    try:
        return file_digest(path)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}; mend its rights, or copy it again.") from error
