"""What decides a step's result, named by content: the same files at another place have the same digest."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vitad_med.digests import file_digest
from vitad_med.errors import DataError
from vitad_med.experiments.placeholders import fill

TABLES = (".csv", ".txt", ".json")
TABLE_BYTES = 16 * 2**20
"""Tables up to this size are read: labels, boxes and lists. Images are known by name and size."""


def content(file: Path) -> str:
    """Digest of a file's bytes, read once for as long as it does not change."""
    status = file.stat()
    return _content_of(file, status.st_size, status.st_mtime_ns)


@functools.cache
def _content_of(file: Path, size: int, changed: int) -> str:
    return file_digest(file)


def folder_digest(folder: Path) -> str:
    """Digest of a data set's folder without reading its images, which may be many gigabytes.

    Over relative path and size of every file, in folders at the end of links too, and over the bytes of tables. An
    image that was added, removed, renamed or resized gives another digest, and so does a changed list; an image that
    changed at equal size does not, nor do the folder's place, times of change, and files and folders whose name begins
    with a dot, which no reader reads.

    Raises:
        DataError: a folder or table in it cannot be read.
    """
    sha = hashlib.sha256()
    for name, path in sorted(_files_below(folder)):
        try:
            size = path.stat().st_size
            known = content(path) if path.suffix.lower() in TABLES and size <= TABLE_BYTES else ""
        except FileNotFoundError:
            size, known = -1, ""  # a link that leads nowhere
        except OSError as error:
            raise DataError(f"'{path}' cannot be read ({error.strerror}): mend its rights.") from error
        sha.update(name + f"\0{size} {known}\n".encode())
    return sha.hexdigest()


def _files_below(folder: Path) -> Iterator[tuple[bytes, Path]]:
    """(path relative to the folder, file) of all files below it; a link to a folder above itself is not followed."""

    def refuse(error: OSError) -> None:
        raise DataError(f"'{error.filename}' cannot be read ({error.strerror}): mend its rights.") from error

    above: dict[str, tuple[str, ...]] = {os.fspath(folder): (os.path.realpath(folder),)}
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        parents = above.pop(place)
        kept = []
        for name in folders:
            path = os.path.join(place, name)
            real = os.path.realpath(path)
            if not name.startswith(".") and real not in parents:
                kept.append(name)
                above[path] = (*parents, real)
        folders[:] = kept
        for name in files:
            if not name.startswith("."):
                path = os.path.join(place, name)
                yield os.fsencode(os.path.relpath(path, folder).replace(os.sep, "/")), Path(path)


def by_content(
    written: Any, here: Mapping[str, Any], anywhere: Mapping[str, Any], digest: Callable[[Path], str], key: str = ""
) -> Any:
    """Overrides as they decide a result: no path of this machine in them.

    Args:
        written: values with placeholders, as in the experiment file.
        here: values of the placeholders on this machine, which lead to files.
        anywhere: values that are the same on every machine.
        digest: of a data set's folder.
        key: config key of ``written``.

    Returns:
        ``written`` with an existing file as ``file:`` and its digest, a folder under a key that ends in
        ``dataset_dir`` as ``folder:`` and its digest, any other path with a root as ``path:`` and a hash of it, and
        the placeholders filled from ``anywhere``.
    """
    if isinstance(written, Mapping):
        return {name: by_content(value, here, anywhere, digest, name) for name, value in written.items()}
    if isinstance(written, list):
        return [by_content(value, here, anywhere, digest, key) for value in written]
    named = fill(written, here)
    if isinstance(named, str):
        path = os.path.expanduser(named)
        if "/" in named and os.path.isfile(path):
            return f"file:{content(Path(path))}"
        if key.endswith("dataset_dir") and os.path.isdir(path):
            return f"folder:{digest(Path(path).resolve())}"
    text = fill(written, anywhere)
    if isinstance(text, str) and (os.path.isabs(os.path.expanduser(text))):
        return f"path:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return text
