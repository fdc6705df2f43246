"""One file in other encodings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gdcm
import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    HTJ2K,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
COMPRESSED = (
    *(RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless),
    *(JPEG2000Lossless, HTJ2KLossless, HTJ2KLosslessRPCL),
)
LOSSLESS = (*PLAIN, *COMPRESSED)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, HTJ2K)

# What pydicom has no encoder of.
_ENCODERS: dict[UID, Callable[[np.ndarray, int], bytes]] = {
    JPEGBaseline8Bit: lambda pixels, _: imagecodecs.jpeg8_encode(pixels, level=95),
    JPEGExtended12Bit: lambda pixels, bits: imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=bits),
    JPEGLSNearLossless: lambda pixels, _: imagecodecs.jpegls_encode(pixels, level=2),
    HTJ2KLossless: lambda pixels, _: imagecodecs.htj2k_encode(pixels, reversible=True),
    HTJ2KLosslessRPCL: lambda pixels, _: imagecodecs.htj2k_encode(pixels, reversible=True, tlm=True),
    HTJ2K: lambda pixels, _: imagecodecs.htj2k_encode(pixels, level=0.001, reversible=False),
}
_GDCM = {
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
}


def encode(path: Path, syntax: UID) -> None:
    """Encode a file of explicit little endian anew, in place."""
    if syntax in _GDCM:
        encode_by_gdcm(path, _GDCM[syntax])
        return
    dataset = pydicom.dcmread(path)
    if syntax in PLAIN:
        if syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        if dataset.BitsAllocated == 8:
            dataset["PixelData"].VR = "OB"  # words of two pixels would be swapped with the order of bytes
        dataset.file_meta.TransferSyntaxUID = syntax
        for _ in dataset.iterall():  # turns what was read into values, which can be written in any order of bytes
            pass
        dataset.set_original_encoding(syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
    elif syntax in _ENCODERS:
        pixels = np.frombuffer(dataset.PixelData, f"<u{dataset.BitsAllocated // 8}")
        stream = _ENCODERS[syntax](pixels.reshape(dataset.Rows, dataset.Columns), dataset.BitsStored)
        dataset.file_meta.TransferSyntaxUID = syntax
        put_stream(dataset, stream)
    else:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def stream_of(dataset: pydicom.Dataset) -> bytes:
    """The code stream of the one frame."""
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def put_stream(dataset: pydicom.Dataset, stream: bytes) -> None:
    """Make a code stream the one fragment of the pixels."""
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True


def encode_by_gdcm(path: Path, syntax: int) -> None:
    """Encode a file anew, in place, by one of GDCM's own names of transfer syntaxes."""
    reader, writer, change = gdcm.ImageReader(), gdcm.ImageWriter(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
