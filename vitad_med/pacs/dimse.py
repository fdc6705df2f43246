"""An archive by C-STORE: the storage service class user (PS3.4 B)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from vitad_med.errors import ArchiveError, ConfigError
from vitad_med.pacs.address import DimseAddress
from vitad_med.pacs.credentials import client_tls
from vitad_med.pacs.objects import FAILURES_IN_A_ROW, DicomFile, Outcome, failed_in_a_row
from vitad_med.pacs.retry import Backoff, Transient
from vitad_med.pacs.stow import describe

CONTEXTS = 128
"""Presentation contexts of one association (PS3.8 9.3.2.2)."""

_WARNINGS = {0xB000: "data elements coerced", 0xB006: "elements discarded", 0xB007: "data set does not match its class"}

# The bytes of the data set are sent as they lie in the file, in its own transfer syntax or not at all.
_config.STORE_SEND_CHUNKED_DATASET = True


class StoreUser:
    """Sends files to one application entity.

    Each pair of storage class and transfer syntax has a presentation context of its own, so that the archive takes a
    file as it is or refuses it: nothing is decoded or encoded on the way.

    Args:
        address: of the archive.
        ae_title: that this machine calls itself.
        backoff: how often to try again.

    Raises:
        ConfigError: TLS is asked for and a certificate cannot be read.
    """

    def __init__(self, address: DimseAddress, ae_title: str = "VITADMED", backoff: Backoff | None = None) -> None:
        self.address = address
        self._backoff = backoff or Backoff()
        self._tls = (client_tls(), address.host) if address.tls else None
        self._entity = AE(ae_title=ae_title)
        self._entity.acse_timeout = self._entity.connection_timeout = 15
        self._entity.dimse_timeout = self._entity.network_timeout = 120

    def store(self, files: Sequence[DicomFile]) -> Iterator[tuple[DicomFile, Outcome]]:
        """See :class:`.objects.Store`."""
        kinds = sorted({(file.sop_class, file.transfer_syntax) for file in files})
        for start in range(0, len(kinds), CONTEXTS):
            part = kinds[start : start + CONTEXTS]
            yield from self._store([file for file in files if (file.sop_class, file.transfer_syntax) in part], part)

    def _store(
        self, files: Sequence[DicomFile], kinds: Sequence[tuple[str, str]]
    ) -> Iterator[tuple[DicomFile, Outcome]]:
        try:
            association = self._open(kinds)
        except _NothingAccepted:
            yield from ((file, _no_context(file)) for file in files)
            return
        failures = 0
        try:
            for file in files:
                for attempt in itertools.count(1):
                    if not association.is_established:
                        association = self._open(kinds)
                    try:
                        outcome = _send(association, file)
                    except Transient as error:
                        outcome = Outcome(False, str(error), later=True)
                    if not outcome.later or attempt >= self._backoff.attempts:
                        break
                    self._backoff.sleep(attempt)
                failures = failures + 1 if outcome.later else 0
                yield file, outcome
                if failures == FAILURES_IN_A_ROW:
                    raise failed_in_a_row(self.address, failures, outcome.detail)
        finally:
            if association.is_established:
                association.release()

    def _open(self, kinds: Sequence[tuple[str, str]]) -> Association:
        try:
            return self._backoff.run(lambda: self._associate(kinds))
        except Transient as error:
            raise ArchiveError(
                f"{self.address} does not answer ({error}); the same command goes on where it stopped"
            ) from error

    def _associate(self, kinds: Sequence[tuple[str, str]]) -> Association:
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in kinds]
        association = self._entity.associate(
            self.address.host, self.address.port, contexts, ae_title=self.address.ae_title, tls_args=self._tls
        )
        if association.is_established:
            return association
        if association.is_rejected:
            raise self._rejection(association)
        if len(association.rejected_contexts) == len(kinds):
            raise _NothingAccepted
        raise Transient("no connection")

    def _rejection(self, association: Association) -> Exception:
        """What a rejection (PS3.8 9.3.4) means: a mistake in a title, or an archive that has no time now."""
        answer = association.acceptor.primitive
        result, source, reason = (getattr(answer, name, None) for name in ("result", "result_source", "diagnostic"))
        if (result, source) != (1, 1):
            return Transient("association rejected for now")
        unknown = {3: "the AE title of this machine, or not from here", 7: f"the AE title {self.address.ae_title}"}
        what = f"it does not know {unknown[reason]}" if reason in unknown else f"reason {reason}"
        return ConfigError(f"{self.address} refuses the association: {what}")


class _NothingAccepted(Exception):
    """The archive accepts the association and none of its presentation contexts; pynetdicom ends it then."""


def _send(association: Association, file: DicomFile) -> Outcome:
    if not _accepted(association, file):
        return _no_context(file)
    try:
        answer = association.send_c_store(file.path)
    except (RuntimeError, OSError) as error:
        raise Transient("connection lost") from error
    if "Status" not in answer:
        raise Transient("connection lost, or no answer in time")
    status = int(answer.Status)
    if status == 0 or status in _WARNINGS:
        return Outcome(True, _WARNINGS.get(status, ""))
    return Outcome(False, describe(status), later=0xA700 <= status <= 0xA7FF)


def _no_context(file: DicomFile) -> Outcome:
    return Outcome(
        False, f"the archive takes no storage class {file.sop_class} in transfer syntax {file.transfer_syntax}"
    )


def _accepted(association: Association, file: DicomFile) -> bool:
    return any(
        context.abstract_syntax == file.sop_class and file.transfer_syntax in (context.transfer_syntax or ())
        for context in association.accepted_contexts
    )
