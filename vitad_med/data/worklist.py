"""Every file of a folder, a DICOMDIR or a list, in one order, with what becomes of it: scored, or set aside and why."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom

from vitad_med.data.case import UNKNOWN, Case
from vitad_med.data.dicom.codes import DICOMDIR
from vitad_med.data.dicom.header import Header, quiet, read_header
from vitad_med.data.dicom.intended_use import IntendedUse
from vitad_med.data.dicom.triage import Aside, Verdict, judge
from vitad_med.data.dicom.views import view_of
from vitad_med.data.folders import IMAGE_SUFFIXES
from vitad_med.errors import DataError

SOURCE = "dicom"
PICTURES = "image_folder"
NIFTI = (".nii", ".nii.gz")


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
    header: Header | None = None


def build_worklist(source: str | Path, intended: IntendedUse) -> list[Item]:
    """Look at every file; headers only.

    Args:
        source: a folder, all of whose folders are searched; a DICOMDIR; or a text file that names a file a line,
            relative to itself.
        intended: what the bundle is meant for.

    Returns:
        Items sorted by name. Of several files with one SOP Instance UID the first is scored.

    Raises:
        DataError: the source does not exist, is empty, or is no list or DICOMDIR.
    """
    items = sorted((_item(name, path, intended) for name, path in _files(Path(source))), key=lambda item: item.name)
    if not items:
        raise DataError(f"{source} holds no file; give the folder with the images.")
    return list(_without_duplicates(items))


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    if source.is_dir():
        yield from _walk(source)
    elif not source.is_file():
        raise DataError(f"{source} does not exist; give a folder, a DICOMDIR, or a text file with a path a line.")
    else:
        listed = _dicomdir(source)
        yield from _listed(source) if listed is None else listed


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=unreadable.append):
        for name in (*files, *(name for name in folders if os.path.islink(os.path.join(folder, name)))):
            path = Path(folder, name)
            yield path.relative_to(root).as_posix(), path
    for error in unreadable:
        path = Path(error.filename)
        yield path.relative_to(root).as_posix(), path


def _dicomdir(source: Path) -> list[tuple[str, Path]] | None:
    """Files that a DICOMDIR refers to, or None where the file is none."""
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
                name = "/".join([parts] if isinstance(parts, str) else parts)
                found.append((name, source.parent / name))
    return found


def _listed(source: Path) -> list[tuple[str, Path]]:
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{source} is neither a DICOMDIR nor a text file with a path a line.") from error
    names = dict.fromkeys(line.strip() for line in lines if line.strip())
    return [(name, source.parent / name) for name in names]


def _item(name: str, path: Path, intended: IntendedUse) -> Item:
    if not path.is_file():
        what = "a link to a folder, which is not followed" if path.is_dir() else "it does not exist or cannot be opened"
        return Item(name, path, Verdict(Aside.UNREADABLE, what))
    if name.lower().endswith((*IMAGE_SUFFIXES, *NIFTI)):
        return _picture(name, path, intended)
    try:
        header = read_header(path)
    except Exception as error:  # of any kind: see read_header
        what = "no DICOM file" if isinstance(error, pydicom.errors.InvalidDicomError) else type(error).__name__
        return Item(name, path, Verdict(Aside.UNREADABLE, what))
    verdict = judge(header)
    if verdict.aside is not None:
        return Item(name, path, verdict, header=header)
    view = view_of(header)
    case = Case(
        header.sop_instance or name,
        header.patient_id or header.study or header.sop_instance or name,
        path,
        SOURCE,
        "test",
        label=0,
        sex=header.sex,
        view=view,
        age=header.age,
        columns=(("manufacturer", header.manufacturer or UNKNOWN), ("modality", header.modality or UNKNOWN)),
    )
    return Item(name, path, verdict, intended.outside(header.modality, view, header.age), case, header)


def _picture(name: str, path: Path, intended: IntendedUse) -> Item:
    """A picture says nothing of its patient; the first folder stands for one, as in ``image_folder``."""
    stem = name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else name.rpartition(".")[0]
    patient = name.split("/")[0] if "/" in name else stem
    case = Case(name, patient, path, PICTURES, "test", label=0)
    return Item(name, path, Verdict(None), intended.outside("", case.view, case.age), case)


def _without_duplicates(items: Iterable[Item]) -> Iterator[Item]:
    first: dict[str, Item] = {}
    for item in items:
        uid = item.header.sop_instance if item.header is not None and item.case is not None else ""
        if not uid or first.setdefault(uid, item) is item:
            yield item
            continue
        same = _content(item.path) == _content(first[uid].path)
        verdict = (
            Verdict(Aside.DUPLICATE, "the same file occurs before")
            if same
            else Verdict(Aside.UID_CONFLICT, "another file before has this SOP Instance UID and other content")
        )
        yield replace(item, verdict=verdict, case=None, outside=())


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
