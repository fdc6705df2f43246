"""One file in other encodings, the pixels unchanged."""

from __future__ import annotations

from pathlib import Path

import gdcm
import numpy as np
import pydicom
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
LOSSLESS = (*PLAIN, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)


def encode(path: Path, syntax: UID) -> None:
    """Encode a file of explicit little endian anew, in place."""
    if syntax == JPEGLosslessSV1:  # pydicom has no encoder of it
        reader, writer, change = gdcm.ImageReader(), gdcm.ImageWriter(), gdcm.ImageChangeTransferSyntax()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
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
        dataset.save_as(path, enforce_file_format=True)
        return
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
