"""Whether the pixels of a DICOM file are all there, and whether unpacking it fills the memory; nothing is decoded."""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO

from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from vitad_med.errors import DataError

PIXEL_DATA = (0x7FE0, 0x0010)
"""Integer pixels; files of float pixels (7FE0,0008) and (7FE0,0009) are no radiographs."""

_ITEM, _ITEM_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF
_PREAMBLE = 132
_LONG = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT", b"OD", b"OF", b"OL", b"OV", b"SV", b"UC", b"UR", b"UV"})
"""Value representations whose length has 32 bits (PS3.5 7.1.2)."""
INFLATED = 512 * 2**20
"""Bytes that a deflated file may unpack to."""


def check_length(file: BinaryIO, syntax: UID, needed: int) -> tuple[bool, str]:
    """Compare the length of the pixel element with what lies on disk.

    Args:
        file: at the first byte of the pixel element, where pydicom stops before it; or at the end, where there is none.
        syntax: transfer syntax of the file.
        needed: bytes of the pixels when they are not compressed.

    Returns:
        Whether there are integer pixels, and why they cannot be whole, or an empty text.
    """
    end = os.fstat(file.fileno()).st_size
    order = "<" if syntax.is_little_endian else ">"
    head = file.read(8)
    if len(head) < 8:
        return False, ""
    tag = struct.unpack(f"{order}HH", head[:4])
    if tag != PIXEL_DATA:
        return False, ""
    if syntax.is_implicit_VR:
        (length,) = struct.unpack(f"{order}I", head[4:])
    elif len(long := file.read(4)) == 4:
        (length,) = struct.unpack(f"{order}I", long)
    else:
        return True, "the file ends in the header of its pixels"
    start = file.tell()
    if length == _UNDEFINED or syntax.is_compressed:
        return True, _check_fragments(file, end)
    if start + length > end:
        return True, f"{start + length - end} of {length} bytes of pixels are missing"
    if length < needed:
        return True, f"the pixels have {length} bytes, {needed} are needed"
    return True, ""


def inflated_length(file: BinaryIO) -> None:
    """Refuse a deflated file that would unpack to more than ``INFLATED`` bytes, before pydicom unpacks it whole.

    Leaves the file at its beginning.

    Raises:
        DataError: it would, or its file meta information is damaged.
        zlib.error: it is damaged.
    """
    try:
        if _syntax(file) != DeflatedExplicitVRLittleEndian:
            return
        unpacker, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := file.read(2**16):
            while chunk:
                total += len(unpacker.decompress(chunk, 2**20))
                chunk = unpacker.unconsumed_tail
                if total > INFLATED:
                    raise DataError(f"the file unpacks to more than {INFLATED // 2**20} MB")
    finally:
        file.seek(0)


def _syntax(file: BinaryIO) -> str:
    """Transfer syntax of a file, which is left where its data set begins, by its elements as pydicom goes by them.

    pydicom's ``read_file_meta_info`` says the same and takes as long as the rest of the header.
    """
    if file.read(_PREAMBLE)[-4:] != b"DICM":
        return ""
    found = ""
    while len(head := file.read(8)) == 8:
        group, element, kind, length = struct.unpack("<HH2sH", head)
        if group != 2:
            file.seek(-8, os.SEEK_CUR)
            break
        if not kind.isalpha():  # implicit, which the standard does not allow here
            (length,) = struct.unpack("<I", head[4:])
        elif kind in _LONG:
            (length,) = struct.unpack("<I", file.read(4).ljust(4, b"\0"))
        if length == _UNDEFINED:
            raise DataError("its file meta information is damaged")
        if element == 0x0010:
            found = file.read(length).rstrip(b"\0 ").decode("latin-1")
        else:
            file.seek(length, os.SEEK_CUR)
    return found


def _check_fragments(file: BinaryIO, end: int) -> str:
    """Walk over the items of encapsulated pixels (PS3.5 A.4); they are little endian whatever the file is."""
    fragments = 0
    while True:
        head = file.read(8)
        if len(head) < 8:
            return "the file ends between two fragments of its pixels"
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == _ITEM_END:
            # The first item is the offset table.
            return "" if fragments > 1 else "the pixels have no fragment"
        if (group, element) != _ITEM or length == _UNDEFINED:
            return "the fragments of the pixels are damaged"
        fragments += 1
        if file.tell() + length > end:
            return f"{file.tell() + length - end} bytes of a fragment of the pixels are missing"
        file.seek(length, os.SEEK_CUR)
