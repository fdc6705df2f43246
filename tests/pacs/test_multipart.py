"""Messages with one DICOM file, whole whatever the pieces are that they come in."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from vitad_med.pacs.multipart import FileBody, boundary_of, copy_part, copy_whole
from vitad_med.pacs.retry import Transient

PART = b"DICM\r\n--almost\r\n-\r\n--b\x00" + bytes(range(256)) * 3
MESSAGE = b"preamble\r\n--bound\r\nContent-Type: application/dicom\r\n\r\n" + PART + b"\r\n--bound--\r\n"


def pieces(message: bytes, size: int) -> list[bytes]:
    return [message[start : start + size] for start in range(0, len(message), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_a_part_comes_out_whole(size: int) -> None:
    file = io.BytesIO()
    copy_part(pieces(MESSAGE, size), b"bound", file)
    assert file.getvalue() == PART


@pytest.mark.parametrize("end", [0, 5, 40, 60, len(MESSAGE) // 2, len(MESSAGE) - 10, len(MESSAGE) - 4])
def test_a_message_that_ends_early_is_not_taken(end: int) -> None:
    with pytest.raises(Transient, match="ended early"):
        copy_part(pieces(MESSAGE[:end], 16), b"bound", io.BytesIO())


def test_two_parts_are_not_taken() -> None:
    two = MESSAGE.replace(b"--bound--\r\n", b"--bound\r\nContent-Type: x\r\n\r\nmore\r\n--bound--")
    with pytest.raises(Transient, match="several"):
        copy_part([two], b"bound", io.BytesIO())


@pytest.mark.parametrize("message", [MESSAGE, b"no boundary " * 10])
def test_endless_messages_end(message: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitad_med.pacs.multipart.LARGEST", 100)
    with pytest.raises(Transient, match="larger"):
        copy_part(pieces(message, 8), b"bound", io.BytesIO())
    with pytest.raises(Transient, match="larger"):
        copy_whole(pieces(message, 8), io.BytesIO())


def test_boundaries() -> None:
    assert boundary_of('multipart/related; type="application/dicom"; boundary="a b"') == b"a b"
    assert boundary_of("Multipart/Related; boundary=ab; type=x") == b"ab"
    assert boundary_of("application/dicom") is None
    with pytest.raises(Transient):
        boundary_of("multipart/related")


@pytest.mark.parametrize("size", [1, 5, 100_000])
def test_what_is_sent_can_be_read_again_and_has_its_length(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(PART)
    with FileBody(path) as body:
        read = list(iter(lambda: body.read(size), b""))
        assert sum(map(len, read)) == len(body)
    boundary, out = boundary_of(body.content_type), io.BytesIO()
    assert boundary is not None
    copy_part(read, boundary, out)
    assert out.getvalue() == PART
