"""An archive by DICOMweb: QIDO to find, WADO to fetch, STOW to store (PS3.18)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import requests
from dicomweb_client.web import DICOMwebClient

from vitad_med.data.dicom.header import read_header
from vitad_med.errors import ArchiveError, ConfigError, DataError
from vitad_med.pacs.address import WebAddress
from vitad_med.pacs.credentials import WEB, WebCredentials, open_session
from vitad_med.pacs.multipart import FileBody, boundary_of, copy_part, copy_whole
from vitad_med.pacs.objects import FAILURES_IN_A_ROW, DicomFile, Outcome, failed_in_a_row
from vitad_med.pacs.retry import Backoff, Transient
from vitad_med.pacs.stow import read_answer

PAGE = 200
"""Results that one query asks for."""

TIMEOUT = (10.0, 120.0)
"""Seconds to connect, and between two pieces of an answer."""

LOOKS = 3
"""How often to look for a new object: some archives list it a moment later."""

_BUSY = {408, 425, 429, 500, 502, 503, 504}
_UID = re.compile(r"[0-9.]{1,64}")
_CHUNK = 2**18


class Failing(DataError):
    """The archive fails, on one object or on all: the next will tell."""


class DicomWeb:
    """One DICOMweb service.

    Args:
        address: its root.
        credentials: what it wants to see.
        backoff: how often to try again.
    """

    def __init__(
        self, address: WebAddress, credentials: WebCredentials | None = None, backoff: Backoff | None = None
    ) -> None:
        self.address = address
        self._session = open_session(credentials or WebCredentials())
        self._backoff = backoff or Backoff()
        self._client = DICOMwebClient(address.url, session=self._session, timeout=TIMEOUT)
        # One place decides what is tried again, and how often.
        self._client.set_http_retry_params(retry=False)

    def find_studies(self, filters: Mapping[str, str]) -> list[str]:
        """Study Instance UIDs.

        Args:
            filters: DICOM keywords and what they must match, e.g. ``{"StudyDate": "20260101-20260131"}``.
        """

        def page(offset: int) -> list[dict[str, Any]]:
            return self._client.search_for_studies(limit=PAGE, offset=offset, search_filters=dict(filters))

        return [row[0] for row in self._find(page, "0020000D")]

    def find_series(self, study: str) -> list[tuple[str, str]]:
        """Series Instance UIDs of a study with their modalities."""

        def page(offset: int) -> list[dict[str, Any]]:
            return self._client.search_for_series(study, limit=PAGE, offset=offset)

        return [(row[0], row[1].upper()) for row in self._find(page, "0020000E", "00080060")]

    def find_instances(self, study: str, series: str) -> list[str]:
        """SOP Instance UIDs of a series."""

        def page(offset: int) -> list[dict[str, Any]]:
            return self._client.search_for_instances(study, series, limit=PAGE, offset=offset)

        return [row[0] for row in self._find(page, "00080018")]

    def retrieve(self, study: str, series: str, instance: str, file: BinaryIO) -> None:
        """Write an instance as the archive has it, in the transfer syntax that it is stored in.

        Raises:
            ArchiveError: the archive cannot be reached, after all attempts.
            Failing: it fails on this one, after all attempts.
            DataError: it does not give this one out.
        """
        url = f"{self.address.url}/studies/{study}/series/{series}/instances/{instance}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'

        def once() -> None:
            file.seek(0)
            file.truncate()
            with (
                self._answering(),
                self._session.get(url, headers={"Accept": accept}, stream=True, timeout=TIMEOUT) as answer,
            ):
                if not answer.ok:
                    self._check(answer)
                    raise DataError(f"the archive does not give it out (HTTP {answer.status_code})")
                boundary = boundary_of(answer.headers.get("Content-Type", ""))
                chunks = answer.iter_content(_CHUNK)
                if boundary is None:
                    copy_whole(chunks, file)
                else:
                    copy_part(chunks, boundary, file)

        try:
            self._backoff.run(once)
        except _Unreachable as error:
            raise ArchiveError(self._gone(error)) from error
        except Transient as error:
            raise Failing(f"the archive fails on it ({error})") from error

    def store(self, files: Sequence[DicomFile]) -> Iterator[tuple[DicomFile, Outcome]]:
        """Store one object a request, so that each has an answer of its own; see :class:`.objects.Store`."""
        failures = 0
        for file in files:
            try:
                outcome = self._backoff.run(lambda file=file: self._store(file))  # type: ignore[misc]
            except _Unreachable as error:
                raise ArchiveError(self._gone(error)) from error
            except Transient as error:
                outcome = Outcome(False, str(error), later=True)
            failures = failures + 1 if outcome.later else 0
            yield file, outcome
            if failures == FAILURES_IN_A_ROW:
                raise failed_in_a_row(self.address, failures, outcome.detail)

    def _store(self, file: DicomFile) -> Outcome:
        with self._answering(), FileBody(file.path) as body:
            headers = {"Content-Type": body.content_type, "Accept": "application/dicom+json"}
            answer = self._session.post(
                f"{self.address.url}/studies",
                data=body,
                headers=headers,
                timeout=TIMEOUT,
            )
            self._check(answer)
            outcome = read_answer(answer, file.sop_instance)
        # Orthanc 1.10 answers that it stored what a filter of its own threw away.
        if outcome.stored and not self._lists(file):
            return Outcome(False, "the archive says that it stored it, and does not list it")
        return outcome

    def _lists(self, file: DicomFile) -> bool:
        """Whether the archive finds an object that it says it stored; True where it cannot be asked."""
        for look in range(1, LOOKS + 1):
            try:
                study = read_header(file.path).study
                with self._answering():
                    found = self._client.search_for_instances(
                        study, limit=1, search_filters={"SOPInstanceUID": file.sop_instance}
                    )
            except Exception:  # no right to search, no search at all, a header that it takes and pydicom does not
                return True
            if any(_value(entry, "00080018") == file.sop_instance for entry in found):
                return True
            if look < LOOKS:
                self._backoff.sleep(look)
        return False

    def _find(self, page: Callable[[int], list[dict[str, Any]]], *tags: str) -> list[tuple[str, ...]]:
        """All rows, page by page, until a page brings nothing new: servers give fewer than asked, or ignore offsets."""
        rows: dict[str, tuple[str, ...]] = {}
        offset = 0
        while True:

            def once() -> list[dict[str, Any]]:
                with self._answering():
                    return page(offset)  # noqa: B023 - called before the next turn

            found = self._run(once)
            new = {row[0]: row for row in (tuple(_value(entry, tag) for tag in tags) for entry in found)}
            new = {uid: row for uid, row in new.items() if uid not in rows and _UID.fullmatch(uid)}
            if not new:
                return list(rows.values())
            rows |= new
            offset += len(found)

    def _run(self, call: Callable[[], Any]) -> Any:
        try:
            return self._backoff.run(call)
        except Transient as error:
            raise ArchiveError(self._gone(error)) from error

    def _gone(self, error: Transient) -> str:
        return f"{self.address} does not answer ({error}); the same command goes on where it stopped"

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn what requests raises, whose texts hold UIDs, into what is worth another attempt or not."""
        try:
            yield
        except requests.HTTPError as error:
            if error.response is None:
                raise Transient("no answer") from None
            self._check(error.response)
            status = error.response.status_code
            hint = ": is it the root of DICOMweb, as in http://HOST/dicom-web?" if status == 404 else ""
            raise ArchiveError(f"{self.address} refuses the query (HTTP {status}){hint}") from None
        except requests.TooManyRedirects:
            raise ConfigError(f"{self.address} sends on to another address: give that one") from None
        except requests.exceptions.SSLError:
            raise ConfigError(
                f"{self.address} has no certificate that is trusted here, or wants one: set {WEB}CA, or {WEB}CERT and "
                f"{WEB}KEY"
            ) from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _Unreachable("no connection" if isinstance(error, requests.ConnectionError) else "timeout") from None
        except requests.exceptions.JSONDecodeError:
            raise ConfigError(f"{self.address} does not answer in DICOM JSON: is it the root of DICOMweb?") from None
        except requests.RequestException as error:
            raise Transient(type(error).__name__) from None

    def _check(self, answer: requests.Response) -> None:
        status = answer.status_code
        if status in (401, 403):
            raise ConfigError(
                f"{self.address} does not let this machine in (HTTP {status}): set {WEB}USER and {WEB}PASSWORD, or "
                f"{WEB}TOKEN"
            )
        if 300 <= status < 400:
            raise ConfigError(f"{self.address} sends on to another address (HTTP {status}): give that one")
        if status == 404 and answer.request.method == "POST":
            raise ConfigError(f"{self.address} has no STOW service (HTTP 404): is it the root of DICOMweb?")
        if status in _BUSY:
            wait = answer.headers.get("Retry-After", "")
            raise Transient(f"HTTP {status}", float(wait) if wait.isdecimal() else 0.0)


class _Unreachable(Transient):
    """Nobody is there, which concerns all objects and not one."""


def _value(entry: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18 F.2); empty where it is absent."""
    element = entry.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return str(values[0]) if isinstance(values, list) and values else ""
