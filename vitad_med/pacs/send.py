"""Send the DICOM files of a folder to an archive: each once, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vitad_med.errors import ArchiveError
from vitad_med.pacs.address import Address, WebAddress
from vitad_med.pacs.credentials import web_credentials
from vitad_med.pacs.dicomweb import DicomWeb
from vitad_med.pacs.dimse import StoreUser
from vitad_med.pacs.ledger import Ledger
from vitad_med.pacs.objects import DicomFile, Outcome, Store
from vitad_med.pacs.retry import Backoff


@dataclass(slots=True)
class Sent:
    """What became of the files.

    Attributes:
        before: in the archive from an earlier run.
        stored: taken now.
        refused: files with what the archive said.
        unsent: left, because the archive stopped answering.
        stopped: why, or None.
    """

    before: int = 0
    stored: int = 0
    refused: list[tuple[DicomFile, Outcome]] = field(default_factory=list)
    unsent: int = 0
    stopped: ArchiveError | None = None


def open_store(address: Address, ae_title: str = "VITADMED", backoff: Backoff | None = None) -> Store:
    """The way to an archive, with the credentials of the environment.

    Raises:
        ConfigError: the credentials contradict each other or name a file that is missing.
    """
    if isinstance(address, WebAddress):
        return DicomWeb(address, web_credentials(), backoff)
    return StoreUser(address, ae_title, backoff)


def send(
    files: Sequence[DicomFile],
    store: Store,
    ledger: Ledger,
    progress: Callable[[DicomFile, Outcome], None] | None = None,
) -> Sent:
    """Send what the ledger does not have.

    Args:
        files: to be sent; of several files with one content one is sent.
        store: the archive.
        ledger: what it has taken.
        progress: called after each object.

    Returns:
        what became of them; when the archive stops answering, that too, and a later call goes on.

    Raises:
        ConfigError: the archive does not let this machine in.
        StorageError: the ledger cannot be written.
    """
    missing = [file for file in files if not ledger.has(file)]
    result = Sent(before=len(files) - len(missing), unsent=len(missing))
    if not missing:
        return result
    try:
        for file, outcome in store.store(missing):
            ledger.record(file, outcome)
            result.unsent -= 1
            if outcome.stored:
                result.stored += 1
            else:
                result.refused.append((file, outcome))
            if progress is not None:
                progress(file, outcome)
    except ArchiveError as error:
        result.stopped = error
    return result
