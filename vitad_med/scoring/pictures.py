"""Pictures of the highest scores so far, put aside for the page; no others, so that they do not grow with the files."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from pathlib import Path

from vitad_med.durable import write_file
from vitad_med.scoring.pipeline import Finished
from vitad_med.scoring.rows import Row

_SUFFIXES = (".jpg", ".png")


class Pictures:
    """X-ray and heat map of at most ``count`` images.

    Which these are depends on the scores alone, not on the order in which they came.

    Args:
        folder: where the files lie while the run goes on.
        count: of images.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self._kept: list[tuple[float, _Reversed]] = []

    def resume(self, rows: Iterable[Row]) -> None:
        """Take up images whose pictures a former process put aside."""
        for row in rows:
            self._offer(row)

    def add(self, finished: Finished) -> None:
        """Put the pictures of a batch aside, and take away those that are no longer among the highest.

        Raises:
            StorageError: a picture cannot be written.
        """
        pictures = {row.image: pair for row, pair in zip(finished.rows, finished.pictures, strict=True) if pair}
        lost: set[str] = set()
        for row in finished.rows:
            if row.image in pictures:
                lost.add(self._offer(row))
        names = {entry[1].text for entry in self._kept}
        for name, pair in pictures.items():
            if name in names:
                for suffix, content in zip(_SUFFIXES, pair, strict=True):
                    write_file(self.folder / f"{name}{suffix}", content)
        for name in lost - {""}:
            for suffix in _SUFFIXES:
                (self.folder / f"{name}{suffix}").unlink(missing_ok=True)

    def read(self) -> dict[str, tuple[bytes, bytes]]:
        """Hashed image name -> X-ray and heat map."""
        found = {}
        for _, name in sorted(self._kept):
            files = [self.folder / f"{name.text}{suffix}" for suffix in _SUFFIXES]
            if all(file.is_file() for file in files):
                found[name.text] = (files[0].read_bytes(), files[1].read_bytes())
        return found

    def tidy(self) -> None:
        """Take away what a killed run left of others."""
        names = {entry[1].text for entry in self._kept}
        for file in self.folder.glob("*") if self.folder.is_dir() else ():
            if file.stem not in names:
                file.unlink(missing_ok=True)

    def _offer(self, row: Row) -> str:
        """Keep an image if it is among the highest; the name of the one that is not any more, or nothing."""
        if row.score is None or not self.count:
            return ""
        entry = (row.score, _Reversed(row.image))
        if len(self._kept) < self.count:
            heapq.heappush(self._kept, entry)
            return ""
        return heapq.heappushpop(self._kept, entry)[1].text


class _Reversed:
    """A name that is greater the earlier it comes, so that equal scores keep the first names, as the worklist does."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __lt__(self, other: _Reversed) -> bool:
        return self.text > other.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)
