"""The listener: takes images, scores each study when it is complete, sends the results, gives nothing up silently."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from vitad_med.pacs.folders import make_folder, only_one
from vitad_med.pacs.inbox import Inbox, Limits
from vitad_med.pacs.objects import Store
from vitad_med.pacs.outbox import Outbox
from vitad_med.pacs.quiet import quiet_network
from vitad_med.pacs.reasons import failure_of, is_storage, reason_of
from vitad_med.pacs.retry import Backoff
from vitad_med.pacs.scp import Port, StoreProvider, describe_allowed
from vitad_med.pacs.study import Study, digest_of
from vitad_med.site.key import SiteKey

logger = logging.getLogger(__name__)

LOCK = "listener.lock"
CREATED = "SOURCE_DATE_EPOCH"


class StudyScorer(Protocol):
    """Scores the images of one study.

    It is called in the main thread with ``SOURCE_DATE_EPOCH`` set to the time of the study's first image. The same
    images must give files of the same bytes. It is called again with the same two folders after it raised or the
    process was killed; ``out`` then holds what it left there.
    """

    def __call__(self, folder: Path, out: Path) -> Sequence[Path]:
        """Score.

        Args:
            folder: with the study's images, ``*.dcm``; nothing else lies there, and nothing comes during the call.
            out: where results go.

        Returns:
            DICOM files below ``out`` that are to be sent; none is a valid answer.
        """


@dataclass(frozen=True, slots=True)
class Settings:
    """How the listener works.

    Attributes:
        study_timeout: seconds without a further image after which a study is complete.
        limits: when images are refused for now.
        scoring: attempts before a study goes to the dead letters, and pauses between them.
        sending: the same for results that the archive refuses; the pauses also while it does not answer.
        keep: seconds that a finished study stays on disk, for images that come late.
    """

    study_timeout: float = 30.0
    limits: Limits = field(default_factory=Limits)
    scoring: Backoff = field(default_factory=lambda: Backoff(attempts=3, first=10.0, longest=300.0))
    sending: Backoff = field(default_factory=lambda: Backoff(attempts=3, first=5.0, longest=300.0))
    keep: float = 7 * 86400.0


class Listener:
    """Receives in threads of its own, scores in the thread that calls :meth:`run`, sends in another.

    Args:
        folder: for everything it keeps; made when it is missing, for its owner alone.
        port: where it listens, and to whom.
        scorer: scores a study.
        key: of the site.
        settings: how it works.
        store: archive for the results, or None; it should try once, for the listener tries again.
        destination: address of that archive.
        linkage: table of the site; None is that beside its key.
    """

    def __init__(
        self,
        folder: Path,
        port: Port,
        scorer: StudyScorer,
        key: SiteKey,
        settings: Settings | None = None,
        store: Store | None = None,
        destination: str = "",
        linkage: Path | None = None,
    ) -> None:
        self.folder = folder
        self._port = port
        self._scorer = scorer
        self._key = key
        self._settings = settings or Settings()
        self._store = store
        self._destination = destination
        self._linkage = linkage
        # A plain flag: a signal's handler could wait for ever for the lock of an Event that it interrupted.
        self._stopping = False
        self._failures: dict[str, int] = {}
        self.ready = threading.Event()
        """Set while it listens."""
        self.port = 0
        """Port that it listens to, once it is ready."""

    def stop(self) -> None:
        """Have :meth:`run` end after the study in hand; may be called from any thread."""
        self._stopping = True

    def run(self) -> None:
        """Work until it is stopped, by :meth:`stop`, SIGTERM or SIGINT; a second signal interrupts the study in hand.

        Raises:
            ConfigError: the port is taken, or another listener works in the folder.
            StorageError: the folder cannot be written.
            KeyboardInterrupt: a second signal came; the study is scored after the next start.
        """
        make_folder(self.folder)
        with only_one(self.folder / LOCK, "listen"), quiet_network(), self._signals():
            inbox = Inbox(self.folder, self._key, self._settings.limits, self._linkage)
            provider = StoreProvider(self._port, inbox)
            outbox = self._outbox(inbox)
            self.port = provider.port
            self.ready.set()
            who = describe_allowed(self._port.allow)
            logger.info("listening as %s on %s:%d, to %s", self._port.ae_title, self._port.host, self.port, who)
            logger.info("results go to %s", self._destination or "the folder alone")
            try:
                self._work(inbox)
            finally:
                self._stopping = True
                self.ready.clear()
                provider.stop()
                if outbox is not None:
                    outbox.join()

    def _outbox(self, inbox: Inbox) -> Outbox | None:
        if self._store is None:
            return None
        outbox = Outbox(
            inbox, self._store, self._destination, self._key, self._settings.sending, lambda: self._stopping
        )
        outbox.start()
        return outbox

    def _work(self, inbox: Inbox) -> None:
        swept = 0.0
        while not self._stopping:
            if time.monotonic() - swept > min(60.0, self._settings.keep):
                self._sweep(inbox)
                swept = time.monotonic()
            study, wait = inbox.next_ready(self._settings.study_timeout)
            if study is not None:
                self._score(inbox, study)
            else:
                with inbox.changed:
                    # A signal does not end a wait: it is short.
                    inbox.changed.wait(min(wait, 0.2))

    def _score(self, inbox: Inbox, study: Study) -> None:
        names = study.image_names()
        digest = digest_of(names)
        try:
            results = self._call(study, names, digest)
            study.record_scored(digest, results)
        except Exception as error:  # of any kind: one study must not stop the others
            self._failed(inbox, study, error)
            return
        self._failures.pop(study.name, None)
        inbox.scored(study, names)
        logger.info("study %s: %d images scored, %d results", study.name, len(names), len(results))

    def _call(self, study: Study, names: Sequence[str], digest: str) -> Sequence[Path]:
        # Images that come meanwhile would change the folder: the scorer sees one that is its own.
        snapshot = study.folder / "scoring"
        shutil.rmtree(snapshot, ignore_errors=True)
        make_folder(snapshot)
        for name in names:
            _link(study.images / name, snapshot / name)
        out = study.results_folder(digest)
        make_folder(out)
        with _created(study.state().began):
            results = self._scorer(snapshot, out)
        shutil.rmtree(snapshot, ignore_errors=True)
        return results

    def _failed(self, inbox: Inbox, study: Study, error: Exception) -> None:
        failures = self._failures[study.name] = self._failures.get(study.name, 0) + 1
        # A full disk is no fault of the study, which waits until there is room.
        if failures >= self._settings.scoring.attempts and not is_storage(error):
            try:
                inbox.bury(study, failure_of(error, failures))
            except OSError as full:
                error = full
            else:
                del self._failures[study.name]
                logger.error("study %s: scoring failed %d times; put into the dead letters", study.name, failures)
                return
        pause = self._settings.scoring.pause(failures)
        inbox.postpone(study, pause, self._settings.study_timeout)
        logger.warning("study %s: scoring failed, again in %.0f s: %s", study.name, pause, reason_of(error))

    def _sweep(self, inbox: Inbox) -> None:
        """Delete finished studies that nobody is expected to add to; results that are nowhere else stay."""
        for study in inbox.studies():
            state = study.state()
            sent = self._store is not None and state.sent == state.scored
            done = (sent or not state.results) and not inbox.is_waiting(study)
            if done and time.time() - study.images.stat().st_mtime > self._settings.keep:
                inbox.remove(study)
                logger.info("study %s: deleted", study.name)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self._stopping:
                raise KeyboardInterrupt
            self._stopping = True

        former = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)  # with its time, by which a run that is resumed knows its files


@contextmanager
def _created(seconds: int) -> Iterator[None]:
    """Set the time of creation of results, which makes their bytes repeat."""
    former = os.environ.get(CREATED)
    os.environ[CREATED] = str(seconds)
    try:
        yield
    finally:
        if former is None:
            del os.environ[CREATED]
        else:
            os.environ[CREATED] = former
