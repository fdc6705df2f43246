"""Every file of a folder, a DICOMDIR or a list, in one order, with what becomes of it: scored, or set aside and why."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import pydicom

from vitad_med.data.case import UNKNOWN, Case
from vitad_med.data.dicom.codes import DICOMDIR
from vitad_med.data.dicom.header import Header, read_header
from vitad_med.data.dicom.intended_use import IntendedUse
from vitad_med.data.dicom.quiet import quiet
from vitad_med.data.dicom.triage import OWN, Aside, Verdict, judge
from vitad_med.data.dicom.views import view_of
from vitad_med.data.folders import IMAGE_SUFFIXES
from vitad_med.data.image_io import is_dicom
from vitad_med.data.nifti import SUFFIXES as NIFTI
from vitad_med.data.own_runs import in_own_run
from vitad_med.data.pictures import judge_picture
from vitad_med.errors import DataError

SOURCE = "dicom"
PICTURES = "image_folder"
CHUNK = 64
"""Files that a worker looks at before it hands over what it found."""

Found = tuple[str, str]
"""A name in the worklist, and the path."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What later steps need of a DICOM file's header; of twenty thousand files it is all that stays in memory.

    Attributes:
        sop_instance, series, study: UIDs.
        patient_id: with its issuer, as in :class:`~vitad_med.data.dicom.header.Header`.
        modality: in upper case.
        transfer_syntax: UID.
        shape: rows and columns.
    """

    sop_instance: str
    series: str
    study: str
    patient_id: str
    modality: str
    transfer_syntax: str
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Item:
    """One file and what becomes of it.

    Attributes:
        name: path below the folder, with ``/``; it may hold a patient's name and never leaves the site.
        path: the file.
        verdict: why it is set aside, or nothing.
        outside: how it lies outside of what the bundle is meant for
            (:meth:`vitad_med.data.dicom.intended_use.IntendedUse.outside`); empty for one within or set aside.
        case: its record, or None where it is set aside.
        header: of a DICOM file that could be read.
    """

    name: str
    path: Path
    verdict: Verdict
    outside: tuple[str, ...] = ()
    case: Case | None = None
    header: Identity | None = None


def build_worklist(source: str | Path, intended: IntendedUse, executor: Executor | None = None) -> list[Item]:
    """Look at every file; headers only.

    Args:
        source: a folder, all of whose folders are searched; a DICOMDIR; or a text file that names a file a line,
            relative to itself.
        intended: what the bundle is meant for.
        executor: where files are looked at; None is here. The list does not depend on it.

    Returns:
        Items sorted by name. Of several files with one SOP Instance UID the first is scored.

    Raises:
        DataError: the source does not exist, is empty, or is no list or DICOMDIR.
    """
    found = sorted(_files(Path(source)))
    if not found:
        raise DataError(f"{source} holds no file; give the folder with the images.")
    chunks = (found[start : start + CHUNK] for start in range(0, len(found), CHUNK))
    look = partial(_items, intended=intended)
    parts = map(look, chunks) if executor is None else executor.map(look, chunks)
    return list(_without_duplicates(item for part in parts for item in part))


def _files(source: Path) -> Iterator[Found]:
    if source.is_dir():
        yield from _walk(os.fspath(source))
    elif not source.is_file():
        raise DataError(f"{source} does not exist; give a folder, a DICOMDIR, or a text file with a path a line.")
    else:
        listed = _dicomdir(source)
        for name in _listed(source) if listed is None else listed:
            yield name, os.fspath(source.parent / name)


def _walk(root: str) -> Iterator[Found]:
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=unreadable.append):
        for name in (*files, *(name for name in folders if os.path.islink(os.path.join(folder, name)))):
            path = os.path.join(folder, name)
            yield _below(path, root), path
    for error in unreadable:
        yield _below(error.filename, root), error.filename


def _below(path: str, root: str) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")


def _dicomdir(source: Path) -> list[str] | None:
    """Names of the files that a DICOMDIR refers to, or None where the file is none."""
    with quiet():
        try:
            dataset = pydicom.dcmread(source, specific_tags=["DirectoryRecordSequence"])
        except Exception:
            return None
        if dataset.file_meta.get("MediaStorageSOPClassUID") != DICOMDIR:
            raise DataError(f"{source} is a DICOM file and no DICOMDIR; give the folder that it lies in.")
        found = []
        for record in dataset.get("DirectoryRecordSequence") or []:
            parts = record.get("ReferencedFileID")
            if parts:
                found.append("/".join([parts] if isinstance(parts, str) else parts))
    return found


def _listed(source: Path) -> list[str]:
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()  # with the mark that Windows puts in front or not
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{source} is neither a DICOMDIR nor a text file with a path a line.") from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _items(found: Sequence[Found], intended: IntendedUse) -> list[Item]:
    with quiet():
        return [_item(name, Path(path), intended) for name, path in found]


def _item(name: str, path: Path, intended: IntendedUse) -> Item:
    if not path.is_file():
        what = _no_file(path)
        return Item(name, path, Verdict(Aside.UNREADABLE, what))
    if name.lower().endswith((*IMAGE_SUFFIXES, *NIFTI)) and not _says_dicom(path):
        return _picture(name, path, intended)
    try:
        header = read_header(path)
    except Exception as error:  # of any kind: see read_header
        what = "no DICOM file" if isinstance(error, pydicom.errors.InvalidDicomError) else type(error).__name__
        return Item(name, path, Verdict(Aside.UNREADABLE, what))
    verdict = judge(header)
    identity = _identity(header)
    if verdict.aside is not None:
        return Item(name, path, verdict, header=identity)
    view = view_of(header)
    case = Case(
        identity.sop_instance or name,
        identity.patient_id or identity.study or identity.sop_instance or name,
        path,
        SOURCE,
        "test",
        label=0,
        sex=header.sex,
        view=view,
        age=header.age,
        columns=_columns(header.manufacturer or UNKNOWN, header.modality or UNKNOWN),
    )
    scored = _SCORED if verdict == _SCORED else verdict
    return Item(name, path, scored, intended.outside(header.modality, view, header.age), case, identity)


def _no_file(path: Path) -> str:
    if not path.is_dir():
        return "it does not exist or cannot be opened"
    return "a link to a folder, which is not followed" if path.is_symlink() else "a folder that cannot be listed here"


_SCORED = Verdict(None)


def _identity(header: Header) -> Identity:
    """Texts that many files share are kept once."""
    series, study, patient, modality, syntax = map(
        sys.intern, (header.series, header.study, header.patient_id, header.modality, header.transfer_syntax)
    )
    return Identity(header.sop_instance, series, study, patient, modality, syntax, _shape(*header.shape))


@lru_cache(maxsize=1024)
def _shape(rows: int, columns: int) -> tuple[int, int]:
    return rows, columns


@lru_cache(maxsize=1024)
def _columns(manufacturer: str, modality: str) -> tuple[tuple[str, str], ...]:
    return ("manufacturer", manufacturer), ("modality", modality)


def _says_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False


def _picture(name: str, path: Path, intended: IntendedUse) -> Item:
    """A picture says nothing of its patient; the first folder stands for one, as in ``image_folder``."""
    stem = name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else name.rpartition(".")[0]
    patient = name.split("/")[0] if "/" in name else stem
    verdict = Verdict(Aside.OWN_OUTPUT, OWN) if in_own_run(path) else judge_picture(path)
    if verdict.aside is not None:
        return Item(name, path, verdict)
    case = Case(name, patient, path, PICTURES, "test", label=0)
    return Item(name, path, verdict, intended.outside("", case.view, case.age), case)


def _without_duplicates(items: Iterable[Item]) -> Iterator[Item]:
    first: dict[str, Item] = {}
    for item in items:
        uid = item.header.sop_instance if item.header is not None and item.case is not None else ""
        if not uid or first.setdefault(uid, item) is item:
            yield item
            continue
        yield replace(item, verdict=_repeated(item.path, first[uid].path), case=None, outside=())


def _repeated(path: Path, first: Path) -> Verdict:
    try:
        same = _content(path) == _content(first)
    except OSError:
        return Verdict(Aside.UNREADABLE, "it cannot be read any more")
    if same:
        return Verdict(Aside.DUPLICATE, "the same file occurs before")
    return Verdict(Aside.UID_CONFLICT, "another file before has this SOP Instance UID and other content")


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
