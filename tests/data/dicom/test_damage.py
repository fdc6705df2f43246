"""Compressed pixels that are cut or damaged are refused, as far as an encoding lets it be known."""

from __future__ import annotations

import io
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.data.dicom.encodings import COMPRESSED, LOSSY, encode, encode_by_gdcm, put_stream, stream_of
from vitad_med.data.dicom import codestream, rle
from vitad_med.data.dicom.jpeg import _standard_error
from vitad_med.data.dicom.pixels import decode, read_radiograph
from vitad_med.errors import DataError

Change = Callable[[bytes, random.Random], bytes]
EVERY = (*COMPRESSED, *LOSSY)
JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
LENGTHS_CHECKED = (RLELossless, *JPEG, JPEGLSLossless, JPEGLSNearLossless)


def cut(stream: bytes, draw: random.Random) -> bytes:
    """Only the beginning is left."""
    return stream[: draw.randrange(16, len(stream) - 1)]


def cut_inside(stream: bytes, draw: random.Random) -> bytes:
    """The last marker is there, what comes before it is not."""
    return stream[: draw.randrange(len(stream) // 4, len(stream) - 200)] + stream[-2:]


def without_a_run(stream: bytes, draw: random.Random) -> bytes:
    """100 bytes are lost in the middle."""
    at = draw.randrange(len(stream) // 4, len(stream) - 200)
    return stream[:at] + stream[at + 100 :]


def overwritten(stream: bytes, draw: random.Random) -> bytes:
    """256 bytes are others."""
    at = draw.randrange(len(stream) // 4, len(stream) - 300)
    return stream[:at] + draw.randbytes(256) + stream[at + 256 :]


def answers(path: Path, change: Change, times: int) -> tuple[int, int]:
    """Of so many damaged files how many were refused, and the seconds that the slowest took."""
    dataset = pydicom.dcmread(path)
    stream, draw, refused, slowest = stream_of(dataset), random.Random(0), 0, 0.0
    for _ in range(times):
        put_stream(dataset, change(stream, draw))
        dataset.save_as(path)
        began = time.perf_counter()
        try:
            read_radiograph(path)
        except DataError:
            refused += 1
        slowest = max(slowest, time.perf_counter() - began)
    return refused, slowest


def encoded(write: Callable[..., Path], syntax: UID) -> Path:
    path = write(bits=8 if syntax == JPEGBaseline8Bit else 12)
    encode(path, syntax)
    read_radiograph(path)  # whole, it can be read
    return path


@pytest.mark.parametrize("syntax", EVERY, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("change", [cut, cut_inside, without_a_run], ids=lambda change: change.__name__)
def test_no_cut_stream_is_decoded(write, syntax: UID, change: Change) -> None:
    refused, slowest = answers(encoded(write, syntax), change, 12)
    # A scan of 8-bit JPEG codes may fall into step again behind a gap, a few blocks short: those are filled in silence.
    assert refused >= (10 if syntax in JPEG and change is without_a_run else 12)
    assert slowest < 5  # CharLS reads on for half a minute behind the end of a cut stream that it is given


@pytest.mark.parametrize("syntax", LENGTHS_CHECKED, ids=lambda syntax: syntax.keyword)
def test_overwritten_bytes_are_mostly_noticed(write, syntax: UID) -> None:
    """By the decoders of all encodings but JPEG 2000 and HTJ2K, whose arithmetic decoder takes anything."""
    refused, _ = answers(encoded(write, syntax), overwritten, 16)
    assert refused >= 12


def test_the_decoder_of_jpeg_says_nothing_on_standard_error(write, capfd: pytest.CaptureFixture[str]) -> None:
    path = encoded(write, JPEGExtended12Bit)
    answers(path, without_a_run, 3)
    assert capfd.readouterr().err == ""


def test_others_still_reach_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    """What is none of the decoder's goes on to where it was meant to go."""
    with _standard_error() as told:
        os.write(2, b"one of another library\nCorrupt JPEG data: bad Huffman code\nand another")
    assert b"Corrupt JPEG data" in told
    assert capfd.readouterr().err == "one of another library\nand another"
    os.write(2, b"as before")
    assert capfd.readouterr().err == "as before"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("BitsStored", 59656),
        ("BitsStored", 0),
        ("BitsAllocated", 12),
        ("PixelRepresentation", 2),
        ("SamplesPerPixel", 3),
        ("PhotometricInterpretation", "GREY"),
    ],
)
@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless], ids=lambda syntax: syntax.keyword)
def test_a_header_of_no_grey_frame_reaches_no_decoder(write, syntax: UID, keyword: str, value: object) -> None:
    """GDCM ends the process over some of these."""
    path = encoded(write, syntax)
    dataset = pydicom.dcmread(path)
    setattr(dataset, keyword, value)
    dataset.save_as(path)
    with pytest.raises(DataError):
        read_radiograph(path)


def test_threads_do_not_take_each_others_damage_for_theirs(write) -> None:
    whole, damaged = encoded(write, JPEGLosslessSV1), write("damaged.dcm")
    encode(damaged, JPEGLosslessSV1)
    dataset = pydicom.dcmread(damaged)
    put_stream(dataset, without_a_run(stream_of(dataset), random.Random(0)))
    dataset.save_as(damaged)
    found: dict[str, list[bool]] = {"whole": [], "damaged": []}

    def read(name: str, path: Path) -> None:
        for _ in range(20):
            try:
                read_radiograph(path)
            except DataError:
                found[name].append(False)
            else:
                found[name].append(True)

    threads = [threading.Thread(target=read, args=pair) for pair in (("whole", whole), ("damaged", damaged))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"whole": [True] * 20, "damaged": [False] * 20}


def tiled(radiograph: np.ndarray) -> bytes:
    """JPEG 2000 in four tiles."""
    file = io.BytesIO()
    picture = Image.fromarray(np.rint(radiograph * 255).astype(np.uint8))
    picture.save(file, "JPEG2000", tile_size=(128, 128), no_jp2=True)
    return file.getvalue()


def test_a_lost_tile_is_noticed(write, radiograph: np.ndarray) -> None:
    """Between two tile-parts nothing says that there was another."""
    stream = tiled(radiograph)
    assert codestream.damage(stream) == ""
    starts = [at for at in range(len(stream)) if stream[at : at + 4] == b"\xff\x90\x00\x0a"]
    assert len(starts) == 4
    lost = stream[: starts[1]] + stream[starts[2] :]
    assert codestream.damage(lost) == "parts of its code stream are missing"
    dataset = pydicom.dcmread(write(bits=8))
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    put_stream(dataset, stream)
    assert decode(dataset).shape == (256, 256)
    put_stream(dataset, lost)
    with pytest.raises(DataError, match="parts of its code stream are missing"):
        decode(dataset)


def test_a_last_tile_part_of_open_length(radiograph: np.ndarray) -> None:
    stream = bytearray(tiled(radiograph))
    last = bytes(stream).rindex(b"\xff\x90\x00\x0a")
    stream[last + 6 : last + 10] = bytes(4)
    assert codestream.damage(bytes(stream) + b"\0") == ""  # DICOM pads to an even length
    assert codestream.damage(bytes(stream[:-2])) == codestream.CUT


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"\xff\xd8\xff\xd9", "has no scan"),
        (b"\xff\xd8\x00\x00\x00\x00", "does not begin with a marker"),
        (b"\xff\xd8\xff\x02\x00\x02", "a marker where none can be"),
        (b"\xff\xd8\xff\xe0", "ends before its last marker"),
        (b"\xff\x4f\xff\x51" + bytes(30), "ends before its last marker"),
        (b"\xff\x4f\xff\x51" + bytes(60), "has no tiles"),
    ],
)
def test_markers_that_are_none(stream: bytes, message: str) -> None:
    assert message in codestream.damage(stream)


def test_jpeg_of_16_bits_that_gdcm_writes_is_refused(write) -> None:
    """It decodes its own file to other pixels."""
    path = write()
    encode_by_gdcm(path, gdcm.TransferSyntax.JPEGExtendedProcess2_4)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEGExtended12Bit
    with pytest.raises(DataError, match="of neither 8 nor 12 bits"):
        read_radiograph(path)


def test_runs_of_rle() -> None:
    """Eight pixels of one byte: five and three as they are, or one eight times."""
    head = np.array([1, 64, *[0] * 14], "<u4").tobytes()
    literal, run = b"\x04abcde\x02fgh", b"\xf9a"
    for body in (literal, run, literal + b"\0\0", b"\x80" + run):
        assert rle.damage(head + body, 8) == ""
    for body in (literal[:-1], run[:-1], literal + b"\x01", b"\xf8a", b"\xfaa", b""):
        assert rle.damage(head + body, 8)
    assert rle.damage(head[:-1], 8) == "its RLE header is incomplete"
    assert rle.damage(np.array([16, *[64] * 15], "<u4").tobytes() + run, 8) == "its RLE header is damaged"
