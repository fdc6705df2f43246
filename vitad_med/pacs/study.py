"""A study that was received: its images, what was scored of them, and what was sent, on disk."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from vitad_med.durable import replace_file, sync
from vitad_med.errors import DataError
from vitad_med.pacs.folders import make_folder

IMAGES, RESULTS, STATE, REASON = "images", "results", "study.json", "reason.json"


@dataclass(slots=True)
class State:
    """What is remembered of a study; the images themselves say the rest.

    Attributes:
        began: seconds since 1970 when the first image came; results of a study keep it as their time of creation, so
            that a second scoring gives the bytes of the first.
        scored: digest of the set of images that was scored last, or empty.
        results: DICOM files that scoring gave, paths below the study's folder.
        sent: the digest whose results are all in the archive, or empty.
        failures: of scoring or sending since something last succeeded.
    """

    began: int
    scored: str = ""
    results: tuple[str, ...] = ()
    sent: str = ""
    failures: int = 0


class Study:
    """One study in the listener's folder.

    Args:
        folder: of the study; its name is the study's hashed name.

    Attributes:
        lock: held while results are changed or sent; taken before the inbox is locked, never after.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._state: State | None = None

    @property
    def name(self) -> str:
        """Hashed name of the study."""
        return self.folder.name

    @property
    def images(self) -> Path:
        """Folder of the images."""
        return self.folder / IMAGES

    def image_names(self) -> list[str]:
        """Names of the image files, sorted. A name never gets another content."""
        return sorted(path.name for path in self.images.glob("*.dcm"))

    def state(self) -> State:
        """What is remembered; made and written when the study is new.

        Raises:
            OSError: it cannot be written.
            DataError: it is damaged, which an interruption cannot cause.
        """
        if self._state is None:
            path = self.folder / STATE
            if path.is_file():
                try:
                    content = json.loads(path.read_text(encoding="utf-8"))
                    self._state = State(**{**content, "results": tuple(content["results"])})
                except (ValueError, TypeError, KeyError) as error:
                    raise DataError(f"{path} is damaged: remove it, and the study is scored anew") from error
            else:
                self._state = State(began=int(time.time()))
                self.save()
        return self._state

    def save(self) -> None:
        """Write the state durably.

        Raises:
            OSError: it cannot be written.
        """
        replace_file(self.folder / STATE, json.dumps(asdict(self.state()), indent=1).encode() + b"\n")

    def results_folder(self, digest: str) -> Path:
        """Where the results of one set of images lie."""
        return self.folder / RESULTS / digest

    def record_scored(self, digest: str, results: Iterable[Path]) -> None:
        """Note that a set of images was scored, then drop the results of the former set.

        Raises:
            OSError: it cannot be written.
        """
        paths = sorted(path.resolve() for path in results)
        for path in paths:
            sync(path)
        with self.lock:
            state = self.state()
            root = self.folder.resolve()
            state.results = tuple(path.relative_to(root).as_posix() for path in paths)
            state.scored, state.failures = digest, 0
            self.save()
            for former in (self.folder / RESULTS).glob("*"):
                if former.name != digest:
                    shutil.rmtree(former, ignore_errors=True)

    def record_sent(self) -> None:
        """Note that the results of the last scoring are in the archive.

        Raises:
            OSError: it cannot be written.
        """
        state = self.state()
        state.sent, state.failures = state.scored, 0
        self.save()

    def record_failure(self) -> int:
        """Count a failure; how many there are now.

        Raises:
            OSError: it cannot be written.
        """
        state = self.state()
        state.failures += 1
        self.save()
        return state.failures


def digest_of(names: Iterable[str]) -> str:
    """Names a set of images: the first 64 bits of the SHA-256 of their names."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def make_study(folder: Path) -> Study:
    """The study in a folder, which is made when it is missing.

    Raises:
        StorageError: it cannot be made.
    """
    make_folder(folder / IMAGES)
    return Study(folder)
