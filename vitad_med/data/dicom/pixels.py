"""From the stored pixels of a DICOM file to 0..1, in one order: modality LUT, VOI LUT or window, inversion."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_modality_lut, get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from vitad_med.data.dicom import codestream, rle
from vitad_med.data.dicom.jpeg import decode_jpeg
from vitad_med.data.dicom.quiet import quiet
from vitad_med.data.dicom.triage import MONOCHROME
from vitad_med.data.dicom.windows import FIRST, Voi, Window, choose, declared
from vitad_med.errors import ConfigError, DataError

TOP = 2**16 - 1
"""0..1 in 16 bits: every step of a detector of 16 bits or fewer stays apart."""

SPAN = 2**20
"""Most values between the least and the greatest of an image."""

# One decoder a syntax, so that a file has the same pixels on every machine that has the package's requirements.
DECODERS: dict[UID, str] = {
    RLELossless: "pydicom",
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), "gdcm"),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "pylibjpeg"),
}


@dataclass(frozen=True, slots=True)
class Radiograph:
    """The pixels of one file as every bundle sees them.

    Attributes:
        values: uint16 [H, W], 0..65535 for 0..1, dark to light as on a light box: air is dark.
        window: what brought modality values to 0..1, in words.
        inverted: the file is stored light to dark (MONOCHROME1) and was inverted, once.
        voi: the window or LUT itself.
    """

    values: NDArray[np.uint16]
    window: str
    inverted: bool
    voi: Voi


def read_radiograph(path: str | Path, window: str = FIRST) -> Radiograph:
    """Decode a single-frame grey file.

    The order is PS3.4 N.2: stored bits, modality LUT or rescale, VOI LUT or window to 0..1, inversion for MONOCHROME1
    (or PresentationLUTShape INVERSE, which says the same and does not invert again). The result is rounded to 16 bits,
    the only rounding there is.

    Args:
        path: the file.
        window: ``first``, ``none``, ``percentile``, or the explanation of a LUT or window
            (:func:`vitad_med.data.dicom.windows.choose`).

    Raises:
        DataError: pixels that cannot be decoded, in words without anything of the patient.
        ConfigError: the file has no LUT or window of that name.
    """
    with quiet():
        try:
            dataset = pydicom.dcmread(path)
            stored = decode(dataset)
            least, counts = _histogram(stored)
            # Every stored value once: what becomes of it does not depend on where it lies.
            numbers = np.arange(least, least + len(counts))
            values = _modality(numbers, dataset)
            occurring = (counts > 0) & ~_is_padding(numbers, dataset)
            low, high = _modality(np.array(_full_range(dataset)), dataset)
        except DataError:
            raise
        except Exception as error:  # pydicom and its decoders raise a dozen kinds on damaged files
            raise DataError(f"its pixels cannot be decoded: {type(error).__name__}") from error
        if not occurring.any():
            occurring = counts > 0
        voi = choose(dataset, window, values[occurring], counts[occurring], (float(low), float(high)))
    codes = np.rint(voi(values) * TOP).astype(np.uint16)
    inverted = is_inverted(dataset)
    told = voi.name or (f"{voi.centre:g}, {voi.width:g} {voi.function}" if isinstance(voi, Window) else "VOI LUT")
    return Radiograph((TOP - codes if inverted else codes)[stored - least], told, inverted, voi)


def read_voi(path: str | Path, window: str = FIRST) -> Voi:
    """What :func:`read_radiograph` looks through; pixels are decoded only where percentiles of them are needed.

    Raises:
        DataError, ConfigError: as there.
    """
    with quiet():
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            low, high = _modality(np.array(_full_range(header)), header)
            voi = declared(header, window, (float(low), float(high)))
        except (ConfigError, DataError):
            raise
        except Exception as error:  # pydicom raises a dozen kinds on damaged files
            raise DataError(f"its window cannot be read: {type(error).__name__}") from error
    return read_radiograph(path, window).voi if voi is None else voi


def is_inverted(dataset: Dataset) -> bool:
    """Whether high values are dark; MONOCHROME1 and the shape INVERSE both say so, and both together say it once."""
    photometric = str(dataset.get("PhotometricInterpretation", "")).upper()
    shape = str(dataset.get("PresentationLUTShape", "")).upper()
    return photometric == "MONOCHROME1" or shape == "INVERSE"


def decode(dataset: FileDataset) -> NDArray[np.integer]:
    """Stored values of a single grey frame, [H, W], bits above those stored cut off.

    Raises:
        DataError: no decoder for the syntax, a code stream of another size than the header says, or one that is cut or
            damaged so that it can be known.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    _check_format(dataset)
    size = (int(dataset.Rows), int(dataset.Columns))
    if syntax.is_encapsulated:
        pixels = _decompressed(dataset, syntax, size)
    else:
        pixels, _ = get_decoder(syntax).as_array(dataset, **_all_bits(dataset))
    if pixels.shape != size:
        raise DataError(f"it decodes to {pixels.shape} pixels, its header says {size}")
    return _stored_bits(pixels, dataset)


def _decompressed(dataset: FileDataset, syntax: UID, size: tuple[int, int]) -> NDArray[np.integer]:
    if syntax not in DECODERS:
        raise DataError(f"there is no decoder for {syntax.name}")
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    announced = codestream.announced_size(stream)
    if announced not in (None, size):
        raise DataError(f"its code stream has {announced} pixels, its header {size}")
    found = rle.damage(stream, size[0] * size[1]) if syntax == RLELossless else codestream.damage(stream)
    if found:
        raise DataError(found)
    if DECODERS[syntax] == "gdcm":
        return decode_jpeg(stream, dataset)
    pixels: NDArray[np.integer]
    pixels, _ = get_decoder(syntax).as_array(dataset, decoding_plugin=DECODERS[syntax], **_all_bits(dataset))
    return pixels


def _check_format(dataset: Dataset) -> None:
    """Refuse what describes no grey frame, before a decoder sees it: GDCM ends the process over some of it."""
    stored, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated:
        raise DataError(f"BitsStored {stored} does not go with BitsAllocated {allocated}")
    if int(dataset.PixelRepresentation) not in (0, 1):
        raise DataError(f"PixelRepresentation {int(dataset.PixelRepresentation)} is neither 0 nor 1")
    if int(dataset.SamplesPerPixel) != 1 or str(dataset.PhotometricInterpretation).upper() not in MONOCHROME:
        raise DataError("its pixels are not grey")
    if int(dataset.Rows) < 1 or int(dataset.Columns) < 1:
        raise DataError("it has no rows or columns")


def _stored_bits(pixels: NDArray[np.integer], dataset: Dataset) -> NDArray[np.integer]:
    """Bits above those stored may hold anything (overlays of old devices); sign-extend what is left."""
    stored, shift = int(dataset.BitsStored), _below_stored(dataset)
    if stored == pixels.dtype.itemsize * 8:
        return pixels
    cut: NDArray[np.integer] = (pixels.astype(np.int64) >> shift) & (2**stored - 1)
    if int(dataset.PixelRepresentation) == 1:
        cut -= (cut >> (stored - 1)) << stored
    return cut


def _below_stored(dataset: Dataset) -> int:
    """Bits below those stored: HighBit is BitsStored - 1 now (PS3.5 8.1.1), older files may lie to the left."""
    stored, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    high = dataset.get("HighBit")
    if high is None or int(high) == stored - 1:
        return 0
    syntax = dataset.file_meta.TransferSyntaxUID
    # A code stream has no bits beside its own; RLE packs the bytes as they lie.
    if not stored <= int(high) < allocated or (syntax.is_encapsulated and syntax != RLELossless):
        raise DataError(f"HighBit {int(high)} does not go with BitsStored {stored}")
    return int(high) + 1 - stored


def _all_bits(dataset: Dataset) -> dict[str, Any]:
    """What keeps pydicom from cutting the high bits off of a file that is aligned to the left."""
    return {"bits_stored": int(dataset.BitsAllocated)} if _below_stored(dataset) else {}


def _is_padding(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.bool_]:
    """Which stored values are padding, PixelPaddingValue up to PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2)."""
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = dataset.get(keyword)
        if isinstance(value, int):
            # Written as US in spite of a sign, as some devices do.
            wraps = int(dataset.PixelRepresentation) == 1 and value >= 2**15
            ends.append(value - 2**16 if wraps else value)
        elif keyword == "PixelPaddingValue":
            return np.zeros(stored.shape, dtype=np.bool_)
    padding: NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return padding


def _full_range(dataset: Dataset) -> tuple[int, int]:
    stored = int(dataset.BitsStored)
    return (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if int(dataset.PixelRepresentation) else (0, 2**stored - 1)


def _histogram(stored: NDArray[np.integer]) -> tuple[int, NDArray[np.int64]]:
    """The least stored value, and how often it and each one after it occur."""
    least, most = int(stored.min()), int(stored.max())
    if most - least >= SPAN:
        raise DataError(f"its values span {most - least:,}, more than any radiograph's")
    return least, np.bincount((stored.astype(np.int64) - least).reshape(-1)).astype(np.int64)


def _modality(values: NDArray[np.integer], dataset: Dataset) -> NDArray[np.float64]:
    luts = dataset.get("ModalityLUTSequence")
    if luts and len(luts[0].LUTDescriptor) == 3 and luts[0].LUTDescriptor[2] not in (8, 16):
        # The standard knows entries of 8 and 16 bits. Devices that write 10 or 12 keep them in words of 16; pydicom
        # would look for a type of so many bits.
        dataset = copy.deepcopy(dataset.group_dataset(0x0028))
        dataset.ModalityLUTSequence[0].LUTDescriptor[2] = 16
    return np.asarray(apply_modality_lut(values, dataset), dtype=np.float64)
