"""Bodies of DICOMweb messages, ``multipart/related`` with one DICOM file (PS3.18 8.6.1.2), byte for byte.

dicomweb-client decodes the files that it fetches and encodes those that it stores: another file than the archive's.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from email.message import Message
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from vitad_med.pacs.retry import Transient

LARGEST = 2**30
"""Bytes of a file that is fetched; four times the largest radiograph that is decoded."""


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names; None where the body is no multipart message.

    Raises:
        Transient: a multipart message without a boundary.
    """
    message = Message()
    message["content-type"] = content_type
    if message.get_content_maintype() != "multipart":
        return None
    boundary = message.get_boundary()
    if not boundary:
        raise Transient("the answer is no multipart message with a boundary")
    return boundary.encode("ascii", "replace")


def copy_whole(chunks: Iterable[bytes], file: BinaryIO) -> None:
    """Write a body that is the file itself.

    Raises:
        Transient: it is larger than any radiograph.
    """
    length = 0
    for chunk in chunks:
        length += len(chunk)
        _check_length(length)
        file.write(chunk)


def copy_part(chunks: Iterable[bytes], boundary: bytes, file: BinaryIO) -> None:
    """Write the one part of a multipart message.

    Raises:
        Transient: the message ends early, has several parts, or is larger than any radiograph.
    """
    head, tail = b"--" + boundary, b"\r\n--" + boundary
    data, started, length = bytearray(), False, 0
    stream = iter(chunks)
    for chunk in stream:
        data += chunk
        if not started:
            start = data.find(head)
            end = data.find(b"\r\n\r\n", start) if start >= 0 else -1
            if end < 0:
                _check_length(len(data))
                continue
            del data[: end + 4]
            started = True
        found = data.find(tail)
        if found >= 0:
            file.write(data[:found])
            _check_end(bytes(data[found + len(tail) :]), stream)
            return
        # The boundary may straddle two chunks.
        sure = max(0, len(data) - len(tail) + 1)
        length += sure
        _check_length(length)
        file.write(data[:sure])
        del data[:sure]
    raise Transient("the answer ended early")


def _check_end(rest: bytes, stream: Iterable[bytes]) -> None:
    for chunk in stream:
        rest += chunk
    if not rest.startswith(b"--"):
        raise Transient("the answer holds several files, or ended early")


def _check_length(length: int) -> None:
    if length > LARGEST:
        raise Transient(f"the answer is larger than {LARGEST >> 20} MiB")


class FileBody:
    """A multipart message with one file, which is read while it is sent; its length is known beforehand.

    Not a subclass of an ``io`` class: requests would ask it where it stands, and count from there.
    """

    def __init__(self, path: Path) -> None:
        boundary = uuid4().hex
        self.content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        self._file = path.open("rb")
        self._parts: list[BinaryIO] = [
            io.BytesIO(f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()),
            self._file,
            io.BytesIO(f"\r\n--{boundary}--\r\n".encode()),
        ]
        self._length = sum(part.seek(0, os.SEEK_END) for part in self._parts)
        for part in self._parts:
            part.seek(0)

    def __enter__(self) -> FileBody:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(2**16):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size``; empty at the end."""
        while self._parts:
            chunk = self._parts[0].read(size)
            if chunk:
                return chunk
            self._parts.pop(0)
        return b""
