"""What an archive has taken, kept on disk, so that a second run sends only what is missing."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import TracebackType

from vitad_med.durable import sync
from vitad_med.errors import StorageError
from vitad_med.pacs.objects import DicomFile, Outcome
from vitad_med.site.key import SiteKey

NAME = "sent.jsonl"


class Ledger:
    """One line an object: its hashed name, a hash of its content, the archive, and what that said.

    A line is on disk before the next object is sent. An object counts as sent to an archive when the last line about
    this very content says so: a file that was made anew is sent anew.

    Args:
        path: of the file, which is made when it is missing.
        destination: the archive, as its address is written.
        key: names are keyed hashes, for the file may leave the site with a result.

    Raises:
        StorageError: it cannot be read or written.
    """

    def __init__(self, path: Path, destination: str, key: SiteKey) -> None:
        self.path = path
        self._destination = destination
        self._key = key
        self._stored: set[tuple[str, str]] = set()
        try:
            fresh = not path.exists()
            self._file = path.open("ab+")
            if fresh:
                os.chmod(path, 0o600)
                sync(path.parent)
            self._read()
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}; give --ledger another place") from error

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def has(self, file: DicomFile) -> bool:
        """Whether the archive took the file as it is now."""
        return self._names(file) in self._stored

    def record(self, file: DicomFile, outcome: Outcome) -> None:
        """Note what the archive said.

        Raises:
            StorageError: the disk is full; the object may be in the archive, and is sent once more.
        """
        image, content = self._names(file)
        line = {
            "image": image,
            "content": content,
            "to": self._destination,
            "stored": outcome.stored,
            "detail": outcome.detail,
        }
        try:
            self._file.write(json.dumps(line, ensure_ascii=True).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}; free space and run again") from error
        if outcome.stored:
            self._stored.add((image, content))

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                names, to, stored = (entry["image"], entry["content"]), entry["to"], entry["stored"]
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a run that was cut off: its object is sent again
            if to == self._destination:
                (self._stored.add if stored else self._stored.discard)(names)
        if content and not content.endswith(b"\n"):
            self._file.write(b"\n")

    def _names(self, file: DicomFile) -> tuple[str, str]:
        with file.path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return self._key.name("image", file.sop_instance), self._key.name("image", digest)
