"""Fetch radiographs from an archive into a folder: each once, whole, under a name that says nothing of the patient."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydicom.datadict import tag_for_keyword

from vitad_med.data.dicom.header import read_header
from vitad_med.durable import sync
from vitad_med.errors import ConfigError, DataError, StorageError
from vitad_med.pacs.dicomweb import DicomWeb, Failing
from vitad_med.pacs.folders import make_folder, only_one
from vitad_med.pacs.objects import FAILURES_IN_A_ROW, failed_in_a_row
from vitad_med.site.key import SiteKey
from vitad_med.site.linkage import Link, add_links

LOCK = ".fetch.lock"
_DATE = re.compile(r"\d{8}|\d{8}-(\d{8})?|-\d{8}")
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True)
class Query:
    """Which studies to look at, and which of their series to take.

    Attributes:
        studies: Study Instance UIDs; empty asks the archive by date and filters.
        date: StudyDate, ``20260131`` or a range ``20260101-20260131``, open at either end; or empty.
        modalities: of series.
        filters: further attributes of studies, DICOM keyword and value.
    """

    studies: tuple[str, ...] = ()
    date: str = ""
    modalities: tuple[str, ...] = ("CR", "DX")
    filters: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not (self.studies or self.date or self.filters):
            raise ConfigError("say which studies: --study UID, --date 20260101-20260131 or --filter KEYWORD=VALUE")
        if self.studies and (self.date or self.filters):
            raise ConfigError("--study names studies itself: leave out --date and --filter")
        if any(not _UID.fullmatch(study) for study in self.studies):
            raise ConfigError("--study is no UID: digits and full stops, at most 64")
        if self.date and not _is_date(self.date):
            raise ConfigError("--date is a day or a range of days: 20260131, 20260101-20260131, 20260101-, -20260131")
        for keyword, _ in self.filters:
            if tag_for_keyword(keyword) is None:
                raise ConfigError(f"--filter {keyword}: DICOM has no attribute of that name, e.g. StationName=ROOM1")


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    days = [day for day in text.split("-") if day]
    try:
        for day in days:
            datetime.strptime(day, "%Y%m%d")
    except ValueError:
        return False
    return days == sorted(days)


@dataclass(slots=True)
class Fetched:
    """What was fetched.

    Attributes:
        studies: that the archive names.
        before: instances that were there from an earlier run.
        fetched: instances now.
        problems: hashed names of instances, or of studies that were named, that could not be fetched, and why.
    """

    studies: int = 0
    before: int = 0
    fetched: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)


def fetch(
    archive: DicomWeb,
    query: Query,
    out: Path,
    key: SiteKey,
    progress: Callable[[Fetched], None] | None = None,
    linkage: Path | None = None,
) -> Fetched:
    """Find and fetch; what lies in the folder whole is not fetched again.

    A file is called by the keyed hash of its SOP Instance UID, and holds the archive's bytes. Names are entered in the
    site's linkage table.

    Args:
        archive: where from.
        query: what.
        out: folder, made when it is missing, for its owner alone: the files name patients.
        key: of the site.
        progress: called after each instance.
        linkage: table of the site; None is that beside its key.

    Raises:
        ArchiveError: the archive does not answer, or does not let this machine in.
        StorageError: the folder cannot be written; no partial file keeps a name that counts.
    """
    make_folder(out)
    result = Fetched()
    with only_one(out / LOCK, "fetch"):
        for study in _studies(archive, query):
            found = archive.find_series(study)
            if not found and query.studies:
                result.problems.append((key.name("study", study), "the archive has no such study"))
                continue
            result.studies += 1
            for series, modality in found:
                if modality in query.modalities:
                    _fetch_series(archive, study, series, out, key, linkage, result, progress)
    return result


def _studies(archive: DicomWeb, query: Query) -> Iterator[str]:
    if query.studies:
        yield from dict.fromkeys(query.studies)
        return
    filters = dict(query.filters)
    if query.date:
        filters["StudyDate"] = query.date
    # One query a modality: a list of values is matched by some archives only.
    seen: set[str] = set()
    for modality in query.modalities:
        found = archive.find_studies({**filters, "ModalitiesInStudy": modality})
        yield from (study for study in found if study not in seen)
        seen.update(found)


def _fetch_series(
    archive: DicomWeb,
    study: str,
    series: str,
    out: Path,
    key: SiteKey,
    linkage: Path | None,
    result: Fetched,
    progress: Callable[[Fetched], None] | None,
) -> None:
    instances = archive.find_instances(study, series)
    links = [Link(key.name("image", instance), "image", instance, key.id) for instance in instances]
    add_links([Link(key.name("study", study), "study", study, key.id), *links], linkage)
    failures = 0
    for instance, link in zip(instances, links, strict=True):
        path = out / f"{link.name}.dcm"
        if _whole(path, instance):
            result.before += 1
        else:
            try:
                _fetch_one(archive, (study, series, instance), path)
                result.fetched += 1
                failures = 0
            except DataError as error:
                result.problems.append((link.name, str(error)))
                failures = failures + 1 if isinstance(error, Failing) else 0
                if failures == FAILURES_IN_A_ROW:
                    raise failed_in_a_row(archive.address, failures, str(error)) from error
        if progress is not None:
            progress(result)


def _fetch_one(archive: DicomWeb, uids: tuple[str, str, str], path: Path) -> None:
    # The same name each time, so that what a killed run left is written over.
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("w+b") as file:
            os.chmod(temporary, 0o600)
            archive.retrieve(*uids, file)
            file.flush()
            os.fsync(file.fileno())
        if not _whole(temporary, uids[2]):
            raise DataError("what the archive gives out is no whole DICOM file of this instance")
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path.parent} cannot be written: {error.strerror}; free space and run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _whole(path: Path, instance: str) -> bool:
    if not path.is_file():
        return False
    try:
        header = read_header(path)
    except Exception:  # of any kind: see read_header
        return False
    return header.sop_instance == instance and not header.truncated
