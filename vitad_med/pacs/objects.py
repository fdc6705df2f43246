"""The DICOM files of a folder that are to be sent, and what became of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydicom.filereader import read_file_meta_info

from vitad_med.data.dicom.quiet import quiet
from vitad_med.errors import ArchiveError, DataError


@dataclass(frozen=True, slots=True)
class DicomFile:
    """One file and what its file meta information says (PS3.10 7.1).

    Attributes:
        path: of the file.
        sop_class, sop_instance, transfer_syntax: UIDs.
    """

    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an archive said to one object.

    Attributes:
        stored: whether it is in the archive.
        detail: why not, or what the archive warned of; nothing of the patient.
        later: not stored, and it is worth trying again.
    """

    stored: bool
    detail: str = ""
    later: bool = False


FAILURES_IN_A_ROW = 3
"""Objects that may fail one after the other before the archive, and not the object, is held to be the reason."""


def failed_in_a_row(address: object, failures: int, last: str) -> ArchiveError:
    """Why no more objects are tried."""
    return ArchiveError(f"{address} failed {failures} times in a row ({last}); try again later")


class Store(Protocol):
    """A way to store objects in an archive."""

    def store(self, files: Sequence[DicomFile]) -> Iterator[tuple[DicomFile, Outcome]]:
        """Send each file once; one that is refused stops no other.

        Raises:
            ArchiveError: the archive does not answer, after all attempts; files without an outcome were not stored.
        """


def find_objects(folder: Path) -> tuple[list[DicomFile], list[Path]]:
    """All DICOM files below a folder, or below its folder ``dicom``, if it has one.

    Returns:
        files sorted by their path, and what is no DICOM file.

    Raises:
        DataError: the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give one with DICOM files, e.g. the OUT of `vitad-med score`")
    root = folder / "dicom" if (folder / "dicom").is_dir() else folder
    found, others = [], []
    for place, _, names in os.walk(root):
        for name in names:
            path = Path(place, name)
            file = read_file(path)
            if file is None:
                others.append(path)
            else:
                found.append(file)
    return sorted(found, key=lambda file: file.path), sorted(others)


def read_file(path: Path) -> DicomFile | None:
    """What a file says of itself; None where it is no DICOM file with the elements that sending needs."""
    try:
        with quiet():
            meta = read_file_meta_info(path)
            uids = [meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID]
    except Exception:  # of many kinds: pydicom raises what it meets in a file that is something else
        return None
    texts = [str(uid or "") for uid in uids]
    return DicomFile(path, *texts) if all(texts) else None
