"""JPEG (baseline, extended, lossless) decoded by GDCM, and refused where its decoder met damage.

The libjpeg inside GDCM decodes what it can of a damaged scan, tells so in one line on standard error, and returns
pixels as if nothing were wrong. The line is the only sign, so standard error is read while it decodes.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from vitad_med.errors import DataError

# Warnings of libjpeg (jerror.h) that mean other pixels than were encoded.
_DAMAGE = re.compile(rb"^(Corrupt JPEG data|Premature end of JPEG|Inconsistent progression)", re.MULTILINE)
# What else libjpeg says; GDCM tries its codecs of 8, 12 and 16 bits in turn, and each that is not the one says so. Old
# devices end the spectrum of a scan at 0 where 63 is meant.
_HARMLESS = re.compile(rb"^(Unsupported JPEG data precision|Invalid SOS|Warning: unknown JFIF|Unknown Adobe color)")

# Standard error is one for the process: one frame at a time, and no fork while it points elsewhere.
_ONE = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_ONE.acquire, after_in_parent=_ONE.release, after_in_child=_ONE.release)


def decode_jpeg(stream: bytes, dataset: FileDataset) -> NDArray[np.integer]:
    """Stored values of a single grey frame.

    Args:
        stream: the frame's code stream.
        dataset: its header.

    Returns:
        [H, W], of the header's BitsAllocated and PixelRepresentation.

    Raises:
        DataError: the stream is damaged, or gives another number of bytes than the header announces.
    """
    image = _image(stream, dataset)
    try:
        with _standard_error() as told:
            text = image.GetBuffer()
            content = text.encode("utf-8", "surrogateescape")  # GDCM returns char* as str
    except Exception as error:  # of SWIG, for a buffer that is none
        raise DataError("its JPEG code stream cannot be decoded") from error
    if _DAMAGE.search(told):
        raise DataError("its JPEG code stream is damaged")
    dtype = np.dtype(f"<{'i' if int(dataset.PixelRepresentation) else 'u'}{int(dataset.BitsAllocated) // 8}")
    shape = (int(dataset.Rows), int(dataset.Columns))
    if len(content) != shape[0] * shape[1] * dtype.itemsize:
        raise DataError("its JPEG code stream does not decode to the pixels that its header announces")
    return np.frombuffer(content, dtype).reshape(shape)


def _image(stream: bytes, dataset: FileDataset) -> gdcm.Image:
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((int(dataset.Columns), int(dataset.Rows), 1))
    image.SetDataElement(element)
    photometric = gdcm.PhotometricInterpretation.GetPIType(str(dataset.PhotometricInterpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    syntax = gdcm.TransferSyntax.GetTSType(str.__str__(dataset.file_meta.TransferSyntaxUID))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    stored = int(dataset.BitsStored)
    bits = (int(dataset.BitsAllocated), stored, stored - 1)
    image.SetPixelFormat(gdcm.PixelFormat(1, *bits, int(dataset.PixelRepresentation)))
    return image


@contextmanager
def _standard_error() -> Iterator[bytearray]:
    """What C libraries write to standard error meanwhile, complete at the end; lines of others go on to it."""
    told = bytearray()
    with _ONE, tempfile.TemporaryFile() as file:
        try:
            former = os.dup(2)
        except OSError:  # it is closed, as that of a daemon may be
            former = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(file.fileno(), 2)
            try:
                yield told
            finally:
                os.dup2(former, 2)
                told += _read(file)
        finally:
            os.close(former)


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    content = file.read()
    others = [line for line in content.splitlines(True) if not (_DAMAGE.match(line) or _HARMLESS.match(line))]
    if others:
        os.write(2, b"".join(others))
    return content
