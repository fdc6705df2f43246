"""Decode PNG files of 16 bits a channel with colour or alpha, which Pillow cuts to 8 bits without a word.

Some tools write grey X-rays so. Grey 16-bit PNG without alpha needs none of this. Format: W3C, PNG Specification (Third
Edition), sections 5 (chunks) and 9 (filters).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 4: 2, 6: 4}  # colour type -> samples a pixel


def is_png16_colour(head: bytes) -> bool:
    """Whether the first 29 bytes of a file announce a PNG of 16 bits with colour or alpha."""
    return len(head) >= 29 and head.startswith(SIGNATURE) and head[24] == 16 and head[25] in CHANNELS


def read_png16_colour(path: str | Path) -> np.ndarray:
    """Decode such a file.

    Returns:
        uint16 array [H, W, samples]: RGB, grey and alpha, or RGBA.

    Raises:
        ValueError: truncated, damaged (checksums), or interlaced.
        OSError: cannot be read.
    """
    data = Path(path).read_bytes()
    header, packed = _chunks(data)
    width, height, _, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if interlaced:
        raise ValueError("it is an interlaced 16-bit colour PNG; save it without interlacing, or as 16-bit grey")
    pixel_bytes = 2 * CHANNELS[colour_type]
    expected = height * (1 + width * pixel_bytes)
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, expected)
    except zlib.error as error:
        raise ValueError(f"its image data is damaged ({error}); copy the file again") from error
    if len(raw) != expected:
        raise ValueError("the file is truncated, image data is missing; copy it again")
    rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * pixel_bytes)
    if rows[:, 0].max() > 4:
        raise ValueError("its image data is damaged (unknown filter); copy the file again")
    pixels = unfilter(rows[:, 1:].reshape(height, width, pixel_bytes), rows[:, 0])
    return pixels.reshape(height, width * pixel_bytes).view(">u2").astype(np.uint16).reshape(height, width, -1)


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    """(IHDR, all IDAT joined), checksums verified."""
    position, header, packed = len(SIGNATURE), b"", []
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(kind + body) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(f"the checksum of its {kind.decode('latin-1')} chunk is wrong; copy the file again")
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed.append(body)
        elif kind == b"IEND":
            return header, b"".join(packed)
        position = end
    raise ValueError("the file is truncated, its end is missing; copy it again")


def unfilter(filtered: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Undo the row filters of PNG (section 9.2).

    A pixel depends on its left, upper and upper left neighbours, so the pixels of an anti-diagonal are independent.
    Pixel (r, c) is stored at [r + c + 2, r + 1], where anti-diagonals and their neighbours are plain slices.

    Args:
        filtered: uint8 [H, W, bytes a pixel].
        kinds: uint8 [H], 0 none, 1 sub, 2 up, 3 average, 4 Paeth.

    Returns:
        uint8 array of the same shape.
    """
    height, width, depth = filtered.shape
    coded = np.zeros((height + width - 1, height, depth), np.uint8)
    for row in range(height):
        coded[row : row + width, row] = filtered[row]
    plain = np.zeros((height + width + 1, height + 1, depth), np.int16)
    for diagonal in range(height + width - 1):
        low, high = max(0, diagonal - width + 1), min(height, diagonal + 1)
        left = plain[diagonal + 1, low + 1 : high + 1]
        up = plain[diagonal + 1, low:high]
        corner = plain[diagonal, low:high]
        to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
        nearest = np.where(to_up <= to_corner, up, corner)
        paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
        predicted = np.choose(kinds[low:high, None], (np.int16(0), left, up, (left + up) >> 1, paeth))
        plain[diagonal + 2, low + 1 : high + 1] = (coded[diagonal, low:high] + predicted) & 255
    out = np.empty_like(filtered)
    for row in range(height):
        out[row] = plain[row + 2 : row + 2 + width, row + 1]
    return out
