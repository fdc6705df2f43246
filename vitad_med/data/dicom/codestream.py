"""Whether a compressed image is all there, from the markers of its code stream; nothing is decoded.

Decoders differ in what they make of a stream that was cut: one fills a lost part with black, one reads on for half a
minute behind the end. Markers tell beforehand. Sources: ITU-T T.81 annex B (JPEG), T.87 annex C (JPEG-LS), T.800 annex
A (JPEG 2000 and, with T.814, HTJ2K).
"""

from __future__ import annotations

import struct
from collections import Counter

Size = tuple[int, int]

_SOI, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_EOI, _SOS, _JPEG_LS = 0xD9, 0xDA, 0xF7
_FRAMES = frozenset({*range(0xC0, 0xD0), _JPEG_LS} - {0xC4, 0xC8, 0xCC})
_DCT = (0xC0, 0xC1, 0xC2)
"""Frames of baseline, extended and progressive JPEG."""
_RESTARTS = range(0xD0, 0xD8)
# DHT, DAC, DQT, DNL, DRI, LSE (JPEG-LS), APP0 to APP15, COM
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xF8, 0xFE, *range(0xE0, 0xF0)})
_SOT, _SIZ, _EOC = b"\xff\x90", 0x51, b"\xff\xd9"

CUT = "its code stream ends before its last marker"


def announced_size(stream: bytes) -> Size | None:
    """Rows and columns that a code stream of the JPEG family announces, which its decoder will allocate.

    Returns:
        rows and columns, or None where the stream is of no such family or announces none.
    """
    if stream[:4] == _JPEG_2000:
        return _size_2000(stream)
    at = 2
    while stream[:2] == _SOI and at + 9 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], struct.unpack_from(">H", stream, at + 2)[0]
        if marker in _FRAMES:
            rows, columns = struct.unpack_from(">HH", stream, at + 5)
            return rows, columns
        at += 2 + length
    return None


def damage(stream: bytes) -> str:
    """What is wrong with the markers of a code stream, or an empty text.

    Streams that are neither JPEG, JPEG-LS nor JPEG 2000 without a file format around it are not looked into. Damage
    between markers is for the decoder to find, as far as it can.
    """
    if stream[:2] == _SOI:
        return _damage_jpeg(stream)
    if stream[:4] == _JPEG_2000:
        return _damage_2000(stream)
    return ""


def _damage_jpeg(stream: bytes) -> str:
    at, scans = 2, 0
    last_stuffed = 0x00  # behind 0xFF in a scan: no marker but a byte of the image
    while True:
        if at + 2 > len(stream):
            return CUT
        if stream[at] != 0xFF:
            return "a segment of its code stream does not begin with a marker"
        marker = stream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _EOI:
            return "" if scans else "its code stream has no scan"
        if marker != _SOS and marker not in _FRAMES and marker not in _TABLES:
            return "its code stream has a marker where none can be"
        if at + 4 > len(stream):
            return CUT
        if marker in _DCT and stream[at + 4 : at + 5] not in (b"\x08", b"\x0c"):
            # GDCM writes such streams, and decodes them to other pixels.
            return "its code stream is of a cosine transform of neither 8 nor 12 bits"
        if marker == _JPEG_LS:
            last_stuffed = 0x7F
        at += 2 + struct.unpack_from(">H", stream, at + 2)[0]
        if marker == _SOS:
            scans += 1
            at = _behind_scan(stream, at, last_stuffed)


def _behind_scan(stream: bytes, at: int, last_stuffed: int) -> int:
    """Where the next marker is that ends a scan; the end of the stream where there is none."""
    while (at := stream.find(b"\xff", at)) >= 0 and at + 1 < len(stream):
        following = stream[at + 1]
        if following > last_stuffed and following not in _RESTARTS:
            return at
        at += 2
    return len(stream)


def _size_2000(stream: bytes) -> Size | None:
    """SOC, then SIZ with its length, capabilities, Xsiz, Ysiz, XOsiz, YOsiz."""
    if len(stream) < 24:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
    return bottom - top, right - left


def _damage_2000(stream: bytes) -> str:
    if len(stream) < 40:
        return CUT
    right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", stream, 8)
    if not width or not height or left >= right or top >= bottom:
        return "its code stream has no tiles"
    tiles = -(-(right - left) // width) * -(-(bottom - top) // height)
    at = 2
    while stream[at : at + 2] != _SOT:  # the main header
        if at + 4 > len(stream):
            return CUT
        if stream[at] != 0xFF:
            return "a segment of its code stream does not begin with a marker"
        at += 2 + struct.unpack_from(">H", stream, at + 2)[0]
    parts: Counter[int] = Counter()
    announced: dict[int, int] = {}
    while stream[at : at + 2] == _SOT:
        if at + 12 > len(stream):
            return CUT
        tile, length, _, of = struct.unpack_from(">HIBB", stream, at + 4)
        parts[tile] += 1
        announced[tile] = max(of, announced.get(tile, 0))
        # The last tile-part may leave its length open: it reaches to the last marker, behind which DICOM may pad.
        at = at + length if length else stream.rstrip(b"\0").rfind(_EOC)
        if 0 < length < 14 or at < 0 or at + 2 > len(stream):
            return CUT
    if stream[at : at + 2] != _EOC:
        return "its code stream does not go on where a part of it ends"
    if len(parts) != tiles or any(parts[tile] < of for tile, of in announced.items()):
        return "parts of its code stream are missing"
    return ""
