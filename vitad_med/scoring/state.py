"""What a run has done so far, on disk after every batch, so that a killed one goes on where it was."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitad_med.data.own_runs import RECORD, SCHEMA_FAMILY, STATE
from vitad_med.digests import first_difference
from vitad_med.durable import append, complete_lines, storage_error, sweep, write_file
from vitad_med.errors import ConfigError, DataError
from vitad_med.scoring.rows import Row

BATCHES, LOCK = "batches.jsonl", ".lock"
SCHEMA = SCHEMA_FAMILY + "3"
KEPT = ("created",)
"""What a resumed run takes from the first one instead of being refused for it."""


_WHAT = {
    "files": " (places, sizes and times of the files that are scored)",
    "site_key": " (after a rotation the former key lies beside the new one, as site.NUMBER.key)",
}


class RunDiffers(ConfigError):
    """The run that is to be resumed was made with other settings, files, software or key."""


class RunState:
    """The record of a run and its finished batches, in ``OUT/state``.

    A batch is in the list when every file of it is on disk.

    Args:
        out: folder of the run.

    Attributes:
        batches: rows of the finished ones.
        lost: batches that were finished and have to be done again, because a file of theirs is gone or another.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / STATE
        self.record: dict[str, Any] = {}
        self.batches: list[list[Row]] = []
        self.lost = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one process; the kernel's lock ends with the process, however it ends.

        Raises:
            ConfigError: another process works in it.
            StorageError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(self.folder, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(f"another run works in '{self.folder.parent}': wait for it, or end it") from None
            yield
        finally:
            os.close(descriptor)

    def begin(self, record: Mapping[str, Any], resume: bool) -> None:
        """Start a run, or go on with one.

        Args:
            record: all that the outputs depend on, plain values.
            resume: go on with the run that is there.

        Raises:
            ConfigError: a run is there and is not to be resumed.
            RunDiffers: it was made with other settings, files or key.
            DataError: its state is damaged.
            StorageError: the folder cannot be written.
        """
        wanted = {"schema": SCHEMA, **record}
        path = self.folder / RECORD
        if path.exists() and not resume:
            raise ConfigError(f"'{self.folder.parent}' holds a run: --resume goes on with it, or choose another --out")
        if not path.exists():
            others = [entry.name for entry in _entries(self.folder.parent) if entry.name != STATE]
            if others:
                raise ConfigError(
                    f"'{self.folder.parent}' is not empty and holds no run to resume: choose another --out"
                )
            write_file(path, (json.dumps(wanted, indent=1) + "\n").encode())
            write_file(self.folder / BATCHES, b"")
        self.record = self._read_record(path)
        self._check(wanted)
        sweep(self.folder.parent)
        if not (self.folder / BATCHES).exists():  # killed between the two files
            write_file(self.folder / BATCHES, b"")
        lines = complete_lines(self.folder / BATCHES)
        for number, line in enumerate(lines):
            rows, files = self._batch(line, number)
            if not all(self._is_there(place, size) for place, size in files.items()):
                # Batches are done in their order, so those behind it go too.
                self.lost = len(lines) - number
                write_file(self.folder / BATCHES, b"".join(line + b"\n" for line in lines[:number]))
                return
            self.batches.append(rows)

    def add(self, rows: Sequence[Row], files: Mapping[str, int]) -> None:
        """The next batch is finished.

        Args:
            rows: of its files.
            files: place below the folder of the run -> bytes, of what was written about them.

        Raises:
            StorageError: it cannot be written down.
        """
        listed = ",".join(row.to_json() for row in rows)
        line = f'{{"rows":[{listed}],"files":{json.dumps(files, separators=(",", ":"))}}}\n'
        append(self.folder / BATCHES, line.encode())
        self.batches.append(list(rows))

    def _is_there(self, place: str, size: int) -> bool:
        try:
            return (self.folder.parent / place).stat().st_size == size
        except OSError:
            return False

    def _read_record(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"'{path}' cannot be read: start anew in another --out") from error
        if not isinstance(content, dict):
            raise DataError(f"'{path}' holds no record: start anew in another --out")
        return content

    def _check(self, wanted: Mapping[str, Any]) -> None:
        ours = {key: value for key, value in wanted.items() if key not in KEPT}
        theirs = {key: value for key, value in self.record.items() if key not in KEPT}
        found = first_difference(ours, theirs)
        if found is not None:
            name, here, there = found
            raise RunDiffers(
                f"--resume: '{name}' was {there} when the run began and is {here} now{_WHAT.get(name, '')}: give the "
                "former settings, files and key, or choose another --out"
            )

    def _batch(self, line: bytes, number: int) -> tuple[list[Row], dict[str, int]]:
        try:
            content = json.loads(line)
            return [Row.of_json(values) for values in content["rows"]], dict(content["files"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"line {number + 1} of '{self.folder / BATCHES}' is damaged: start anew in another --out"
            ) from error


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise storage_error(folder, error) from error
