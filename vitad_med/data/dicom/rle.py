"""Whether the segments of an RLE frame end where the image does (PS3.5 annex G); the decoder cuts in silence."""

from __future__ import annotations

import struct

_HEADER = 64


def damage(stream: bytes, pixels: int) -> str:
    """What is wrong with the runs of an RLE frame, or an empty text.

    RLE has neither markers nor checksums: a changed byte of the image cannot be known. A changed length of a run mostly
    can, for the segment then ends too early or too late.

    Args:
        stream: the frame.
        pixels: of the image; each segment holds one byte of each.
    """
    if len(stream) < _HEADER:
        return "its RLE header is incomplete"
    count, *starts = struct.unpack("<16I", stream[:_HEADER])
    if not 1 <= count <= 15:
        return "its RLE header is damaged"
    ends = [*starts[1:count], len(stream)]
    for start, end in zip(starts[:count], ends, strict=True):
        if not _HEADER <= start < end <= len(stream):
            return "its RLE header is damaged"
        if not _fits(stream, start, end, pixels):
            return "a run of its RLE pixels is damaged"
    return ""


def _fits(stream: bytes, at: int, end: int, pixels: int) -> bool:
    """Whether runs add up to the image, with nothing behind them but zeros, which some devices pad with."""
    while pixels > 0 and at < end:
        head = stream[at]
        if head < 128:  # so many bytes and one as they are
            at += head + 2
            pixels -= head + 1
        elif head > 128:  # one byte, repeated
            at += 2
            pixels -= 257 - head
        else:
            at += 1
    return pixels == 0 and at <= end and not stream[at:end].strip(b"\0")
