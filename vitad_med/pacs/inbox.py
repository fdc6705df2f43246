"""The listener's queue on disk: images as they come in, by study, and which studies wait to be scored."""

from __future__ import annotations

import io
import logging
import os
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pydicom

from vitad_med.durable import replace_file, sync
from vitad_med.errors import VitadError
from vitad_med.pacs.folders import make_folder
from vitad_med.pacs.study import REASON, Study, digest_of, make_study
from vitad_med.site.key import SiteKey
from vitad_med.site.linkage import Link, add_links

logger = logging.getLogger(__name__)

STUDIES, INCOMING, DEAD = "studies", "incoming", "dead_letter"


class Refused(Exception):
    """An image that is not taken.

    Attributes:
        status: of the C-STORE response (PS3.4 B.2.3).
    """

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000


@dataclass(frozen=True, slots=True)
class Limits:
    """When images are refused for now.

    Attributes:
        waiting: images that are not scored yet.
        free: bytes that must stay free on the disk.
    """

    waiting: int = 2000
    free: int = 2 * 10**9


class Inbox:
    """Studies below a folder; safe to use from several threads.

    Args:
        folder: of the listener.
        key: names of studies and images are keyed hashes.
        limits: when images are refused.
        linkage: table of the site; None is that beside its key.

    Attributes:
        changed: notified when an image came or a study went on.
    """

    def __init__(self, folder: Path, key: SiteKey, limits: Limits | None = None, linkage: Path | None = None) -> None:
        self.folder = folder
        self.changed = threading.Condition(threading.RLock())
        self._key = key
        self._limits = limits or Limits()
        self._linkage = linkage
        for name in (STUDIES, INCOMING, DEAD):
            make_folder(folder / name)
        for left in (folder / INCOMING).iterdir():
            left.unlink()  # never acknowledged: the sender has it still
        self._studies: dict[str, Study] = {}
        self._waiting: dict[str, set[str]] = {}
        self._last: dict[str, float] = {}
        for place in sorted((folder / STUDIES).iterdir()):
            self._take_up(make_study(place))

    def receive(self, dataset: bytes, meta: bytes, sop_instance: str) -> str:
        """Keep one image; when this returns it is on disk.

        Args:
            dataset: encoded data set, as it was sent.
            meta: preamble and file meta information that belong before it.
            sop_instance: UID that the sender's command names.

        Returns:
            hashed name of the image.

        Raises:
            Refused: with the status to answer.
        """
        self._check_room(len(meta) + len(dataset))
        study_uid, found = self._identify(meta + dataset)
        if found != sop_instance:
            raise Refused(MISMATCH, "its SOP Instance UID is another than the command's")
        study, image = self._key.name("study", study_uid), self._key.name("image", sop_instance)
        temporary = self.folder / INCOMING / uuid4().hex
        try:
            add_links(
                [Link(study, "study", study_uid, self._key.id), Link(image, "image", sop_instance, self._key.id)],
                self._linkage,
            )
            replace_file(temporary, meta + dataset, temporary.with_suffix(".part"))
            with self.changed:
                self._file(study, image, dataset, temporary)
        except (OSError, VitadError) as error:
            raise Refused(OUT_OF_RESOURCES, f"it cannot be written ({type(error).__name__})") from error
        finally:
            temporary.unlink(missing_ok=True)
        return image

    def next_ready(self, quiet_for: float) -> tuple[Study | None, float]:
        """The study that waits longest since its last image.

        Args:
            quiet_for: seconds after the last image, when a study counts as complete.

        Returns:
            the study, or None; and the seconds until the next may be ready.
        """
        with self.changed:
            due = sorted((self._last[name] + quiet_for, name) for name in self._waiting)
            if not due:
                return None, 3600.0
            left = due[0][0] - time.monotonic()
            return (self._studies[due[0][1]], 0.0) if left <= 0 else (None, left)

    def scored(self, study: Study, names: Sequence[str]) -> None:
        """These images of a study are scored; others may have come meanwhile."""
        with self.changed:
            left = self._waiting.get(study.name, set()) - set(names)
            if left:
                self._waiting[study.name] = left
            else:
                self._waiting.pop(study.name, None)
            self.changed.notify_all()

    def postpone(self, study: Study, seconds: float, quiet_for: float) -> None:
        """Have a study wait so many seconds from now."""
        with self.changed:
            self._last[study.name] = time.monotonic() + seconds - quiet_for

    def studies(self) -> list[Study]:
        """All studies."""
        with self.changed:
            return list(self._studies.values())

    def holds(self, study: Study) -> bool:
        """Whether a study is neither deleted nor among the dead letters."""
        with self.changed:
            return self._studies.get(study.name) is study

    def is_waiting(self, study: Study) -> bool:
        """Whether images of a study are not scored."""
        with self.changed:
            return study.name in self._waiting

    def remove(self, study: Study) -> None:
        """Forget a study and delete its folder, unless images came meanwhile."""
        with study.lock, self.changed:
            if study.name not in self._waiting and self._studies.pop(study.name, None) is not None:
                shutil.rmtree(study.folder, ignore_errors=True)

    def bury(self, study: Study, reason: bytes) -> Path:
        """Put a study with the reason into the dead-letter folder; images that come later begin it anew."""
        with study.lock, self.changed:
            place = self.folder / DEAD / study.name
            number = 1
            while place.exists():
                number += 1
                place = self.folder / DEAD / f"{study.name}.{number}"
            replace_file(study.folder / REASON, reason)
            os.replace(study.folder, place)
            sync(place.parent)
            sync(study.folder.parent)
            self._studies.pop(study.name, None)
            self._waiting.pop(study.name, None)
            self.changed.notify_all()
            return place

    def _file(self, study: str, image: str, dataset: bytes, temporary: Path) -> None:
        """Move an image to its study; called with the lock."""
        held = self._studies.get(study)
        if held is None:
            held = self._studies[study] = make_study(self.folder / STUDIES / study)
            held.state()
        target = held.images / f"{image}.dcm"
        number = 1
        while target.exists():
            if target.read_bytes().endswith(dataset):
                return  # sent again, as after an answer that was lost
            number += 1
            # Another content under one UID: both are kept, and scoring says so. `_` sorts behind `.`: the first counts.
            target = held.images / f"{image}_{number}.dcm"
        os.replace(temporary, target)
        sync(held.images)
        self._waiting.setdefault(study, set()).add(target.name)
        self._last[study] = time.monotonic()
        if held.state().failures:
            held.state().failures = 0
        self.changed.notify_all()

    def _take_up(self, study: Study) -> None:
        """A study of an earlier process, or one that was put back from the dead letters."""
        names = study.image_names()
        state = study.state()
        (study.folder / REASON).unlink(missing_ok=True)
        state.failures = 0
        self._studies[study.name] = study
        if names and digest_of(names) != state.scored:
            self._waiting[study.name] = set(names)
            self._last[study.name] = time.monotonic()

    def _check_room(self, length: int) -> None:
        with self.changed:
            waiting = sum(len(names) for names in self._waiting.values())
        if waiting >= self._limits.waiting:
            raise Refused(OUT_OF_RESOURCES, f"{waiting} images wait to be scored")
        if shutil.disk_usage(self.folder).free < self._limits.free + length:
            raise Refused(OUT_OF_RESOURCES, "the disk is nearly full")

    @staticmethod
    def _identify(content: bytes) -> tuple[str, str]:
        try:
            header = pydicom.dcmread(
                io.BytesIO(content),
                stop_before_pixels=True,
                specific_tags=["StudyInstanceUID", "SOPInstanceUID"],
            )
            study, instance = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
        except Exception as error:  # of a dozen kinds: see read_header
            raise Refused(CANNOT_UNDERSTAND, f"its header cannot be read ({type(error).__name__})") from error
        if not study or not instance:
            raise Refused(CANNOT_UNDERSTAND, "it names no study or no instance")
        return study, instance
