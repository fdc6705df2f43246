"""From a list of files to finished batches: decoding ahead, one batch on the device, writing behind it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitad_med.data.dicom.triage import Aside
from vitad_med.data.intensity import to_unit_range
from vitad_med.durations import duration
from vitad_med.errors import DataError
from vitad_med.findings.finding import Finding
from vitad_med.scoring.backends.base import Backend
from vitad_med.scoring.image_task import Decoded, Decoding, Outputs, Source, Written, decode, write_outputs
from vitad_med.scoring.judgement import Judgement
from vitad_med.scoring.rows import Row
from vitad_med.scoring.workers import WorkerLost, Workers

Pictures = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to score and its row so far."""

    source: Source
    row: Row


@dataclass(frozen=True, slots=True)
class Finished:
    """One batch, every output of which is on disk.

    Attributes:
        number: of the batch.
        rows: of its files, in their order.
        pictures: X-ray and heat map of each, or None.
        files: place below the folder of the run -> bytes, of all its outputs.
    """

    number: int
    rows: list[Row]
    pictures: list[Pictures | None]
    files: dict[str, int]


def batches_of(entries: Sequence[Entry], size: int) -> list[Sequence[Entry]]:
    """Fixed boundaries: a batch holds the same files whichever machine scores it, and after any interruption."""
    return [entries[start : start + size] for start in range(0, len(entries), size)]


@dataclass(frozen=True)
class Pipeline:
    """Scores batches.

    At most ``ahead`` batches are decoded or being decoded, one is on the device and one is being written, whatever the
    number of files: memory does not grow with them.

    Attributes:
        backend: gives maps and scores.
        judgement: p-value and flag of a score.
        decoding, outputs: of every image.
        batch_size: images that the backend gets, the last batch filled up with zeros, so that the same image meets the
            same arithmetic in every run.
        ahead: batches that decoding may be ahead.
    """

    backend: Backend
    judgement: Judgement
    decoding: Decoding
    outputs: Outputs
    batch_size: int
    ahead: int = 2

    def run(self, numbered: Sequence[tuple[int, Sequence[Entry]]], workers: Workers) -> Iterator[Finished]:
        """Finished batches, in their order.

        Raises:
            StorageError: an output cannot be written; the batches before are finished.
        """
        waiting = iter(numbered)
        decoding: deque[tuple[int, Sequence[Entry], list[Future[Decoded]]]] = deque()
        writing: _Writing | None = None

        def decode_more() -> None:
            for number, entries in waiting:
                futures = [workers.submit(decode, entry.source, self.decoding) for entry in entries]
                decoding.append((number, entries, futures))
                if len(decoding) >= self.ahead:
                    return

        decode_more()
        while decoding:
            number, entries, futures = decoding.popleft()
            decoded = [_decoded(future) for future in futures]
            del futures
            decode_more()  # while the device works
            findings = self._score(entries, decoded)
            if writing is not None:  # at most one batch has results that are not on disk yet
                yield writing.finish()
            writing = self._write(number, entries, decoded, findings, workers)
        if writing is not None:
            yield writing.finish()

    def score_batch(self, number: int, entries: Sequence[Entry]) -> Finished:
        """One batch from its files to its outputs in this process, for engines that bring processes of their own."""
        with Workers(0) as here:
            return next(self.run([(number, entries)], here))

    def _score(self, entries: Sequence[Entry], decoded: Sequence[Decoded | str]) -> list[Finding | None]:
        decoding = self.decoding
        images = np.zeros((self.batch_size, decoding.channels, decoding.size, decoding.size), dtype=np.float32)
        for place, image in enumerate(decoded):
            if isinstance(image, Decoded):
                images[place] = to_unit_range(image.image)
        if not any(isinstance(image, Decoded) for image in decoded):
            return [None] * len(entries)
        maps, scores = self.backend(images)
        return [
            self._finding(entry, maps[place, 0], scores[place]) if isinstance(image, Decoded) else None
            for place, (entry, image) in enumerate(zip(entries, decoded, strict=True))
        ]

    def _finding(self, entry: Entry, anomaly_map: NDArray[np.float32], value: np.floating) -> Finding | None:
        if not (np.isfinite(value) and np.isfinite(anomaly_map).all()):
            return None
        score = float(f"{float(value):.6g}")
        p_value, flagged = self.judgement.of(score, within=not entry.row.outside)
        return Finding(score, np.ascontiguousarray(anomaly_map), p_value, self.judgement.threshold, flagged)

    def _write(
        self,
        number: int,
        entries: Sequence[Entry],
        decoded: Sequence[Decoded | str],
        findings: Sequence[Finding | None],
        workers: Workers,
    ) -> _Writing:
        rows: list[Row] = []
        futures: list[Future[Written] | None] = []
        for entry, image, finding in zip(entries, decoded, findings, strict=True):
            if isinstance(image, str):
                rows.append(entry.row.aside(Aside.PIXELS, image))
                futures.append(None)
            elif finding is None:
                rows.append(entry.row.aside(Aside.NOT_FINITE, "the network's answer is no finite number"))
                futures.append(None)
            else:
                row = entry.row.scored(finding.score, finding.p_value, finding.flagged, image.intensities)
                rows.append(row.noted(image.notes))
                futures.append(workers.submit(write_outputs, entry.source, finding, image, self.outputs))
        return _Writing(number, rows, futures)


@dataclass(frozen=True)
class _Writing:
    number: int
    rows: list[Row]
    futures: list[Future[Written] | None]

    def finish(self) -> Finished:
        written = [_NOTHING if future is None else _written(future) for future in self.futures]
        rows = [row.noted(each.notes) for row, each in zip(self.rows, written, strict=True)]
        files = {place: size for each in written for place, size in each.files.items()}
        return Finished(self.number, rows, [each.pictures for each in written], files)


_NOTHING = Written(None)


def _written(future: Future[Written]) -> Written:
    try:
        return future.result()
    except WorkerLost:
        return Written(None, ("outputs_lost",))


def _decoded(future: Future[Decoded]) -> Decoded | str:
    """The image, or why there is none."""
    try:
        return future.result()
    except DataError as error:
        return str(error)


class Progress:
    """How far a run is: files done, rate, time left; at most one line in ``interval`` seconds."""

    def __init__(self, total: int, tell: Callable[[str], Any], interval: float = 10.0) -> None:
        self.total, self.tell, self.interval = total, tell, interval
        self.done = self._skipped = 0
        self._began = self._spoke = time.monotonic()

    def skip(self, count: int) -> None:
        """So many files were finished before this run."""
        self.done += count
        self._skipped += count

    def add(self, count: int) -> None:
        """So many more files are finished."""
        self.done += count
        now = time.monotonic()
        if now - self._spoke < self.interval and self.done < self.total:
            return
        if self.done == self.total and now - self._began < self.interval:
            return
        self._spoke = now
        rate = (self.done - self._skipped) / (now - self._began)
        left = (self.total - self.done) / rate
        self.tell(f"scored {self.done} of {self.total} files, {rate:.1f} a second, {duration(left)} left")
