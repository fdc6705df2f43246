"""Sends the results of scored studies to an archive, in the background, until they are there."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vitad_med.errors import ArchiveError, VitadError
from vitad_med.pacs.inbox import Inbox
from vitad_med.pacs.ledger import NAME, Ledger
from vitad_med.pacs.objects import Store, read_file
from vitad_med.pacs.reasons import reason_of, refusal_of
from vitad_med.pacs.retry import Backoff
from vitad_med.pacs.send import send
from vitad_med.pacs.study import Study
from vitad_med.site.key import SiteKey

logger = logging.getLogger(__name__)


class Outbox(threading.Thread):
    """One thread that sends.

    An archive that does not answer is tried again for as long as it takes, with growing pauses; results that it
    refuses go to the dead letters after some attempts.

    Args:
        inbox: whose studies are sent.
        store: the archive; it tries each object once, this thread tries again.
        destination: the archive's address, for the ledger.
        key: of the site.
        backoff: attempts for refused results, and pauses.
        stopping: whether to end after the study in hand.
    """

    def __init__(
        self,
        inbox: Inbox,
        store: Store,
        destination: str,
        key: SiteKey,
        backoff: Backoff,
        stopping: Callable[[], bool],
    ) -> None:
        super().__init__(name="outbox")
        self._inbox = inbox
        self._store = store
        self._destination = destination
        self._key = key
        self._backoff = backoff
        self._stopping = stopping
        self._due: dict[str, float] = {}
        self._down = 0

    def run(self) -> None:
        """Send what is scored and not sent, oldest study first."""
        while not self._stopping():
            study, wait = self._next()
            if study is not None:
                self._send(study)
                continue
            with self._inbox.changed:
                self._inbox.changed.wait(min(wait, 1.0))

    def _next(self) -> tuple[Study | None, float]:
        now = time.monotonic()
        unsent = [study for study in self._inbox.studies() if study.state().scored != study.state().sent]
        due = sorted(unsent, key=lambda study: self._due.get(study.name, 0.0))
        if not due:
            return None, 1.0
        wait = self._due.get(due[0].name, 0.0) - now
        return (due[0], 0.0) if wait <= 0 else (None, wait)

    def _send(self, study: Study) -> None:
        try:
            with study.lock:
                if not self._inbox.holds(study):
                    return
                refused = self._send_all(study)
                if not refused:
                    study.record_sent()
                    self._down = 0
                    self._due.pop(study.name, None)
                    logger.info("study %s: sent to the archive", study.name)
                    return
                failures = study.record_failure()
            self._refused(study, refused, failures)
        except (VitadError, OSError) as error:
            self._postpone_all(study, error)
        except Exception as error:  # of any kind: it must not end the thread, which sends the other studies too
            with contextlib.suppress(OSError):
                self._refused(study, [(study.name, reason_of(error))], study.record_failure())

    def _postpone_all(self, study: Study, error: Exception) -> None:
        # The archive or this machine's disk, not the study: everything waits, nothing is given up.
        self._down += 1
        pause = self._backoff.pause(self._down)
        due = time.monotonic() + pause
        self._due = {waiting.name: due for waiting in self._inbox.studies()}
        # The others go first next time, in case it is this study after all.
        self._due[study.name] = due + 1e-3
        logger.warning("results cannot be sent, trying again in %.0f s: %s", pause, reason_of(error))

    def _refused(self, study: Study, refused: list[tuple[str, str]], failures: int) -> None:
        if failures < self._backoff.attempts or self._inbox.is_waiting(study):
            self._due[study.name] = time.monotonic() + self._backoff.pause(failures)
            logger.warning("study %s: the archive refused results, attempt %d", study.name, failures)
            return
        self._inbox.bury(study, refusal_of(refused))
        self._due.pop(study.name, None)
        logger.error("study %s: the archive refused results; put into the dead letters", study.name)

    def _send_all(self, study: Study) -> list[tuple[str, str]]:
        """Names of the objects that can never be sent, and why.

        Raises:
            ArchiveError: the archive does not take anything, or not now.
        """
        files, lost = [], []
        for name in study.state().results:
            file = read_file(study.folder / name)
            if file is None:
                lost.append((Path(name).name, "the file is missing or no DICOM file any more"))
            else:
                files.append(file)
        with Ledger(study.folder / NAME, self._destination, self._key) as ledger:
            sent = send(files, self._store, ledger)
        if sent.stopped is not None:
            raise sent.stopped
        for _, outcome in sent.refused:
            if outcome.later:
                raise ArchiveError(f"the archive has no time or room ({outcome.detail})")
        return lost + [(self._key.name("image", file.sop_instance), outcome.detail) for file, outcome in sent.refused]
