"""Pixels of one radiograph in every encoding, depth and polarity."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    HTJ2K,
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.data.dicom.encodings import LOSSLESS, LOSSY, encode, put_stream, stream_of
from vitad_med.data.dicom.pixels import TOP, decode, read_radiograph
from vitad_med.errors import ConfigError, DataError


def test_a_window_over_all_bits_gives_the_image_back(write, radiograph: np.ndarray) -> None:
    found = read_radiograph(write(window=None))
    assert (found.values.dtype, found.values.shape) == (np.dtype(np.uint16), (256, 256))
    # 12 bits hold the image to half a step.
    np.testing.assert_allclose(found.values / TOP, radiograph, atol=0.5 / 4095 + 1e-5)
    assert (found.window, found.inverted) == ("2048, 4096 LINEAR", False)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_lossless_encodings_change_no_value(write, syntax: UID, bits: int) -> None:
    plain, other = write("plain.dcm", bits=bits), write("other.dcm", bits=bits)
    encode(other, syntax)
    assert pydicom.dcmread(other).file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(read_radiograph(plain).values, read_radiograph(other).values)


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda syntax: syntax.keyword)
def test_lossy_encodings_change_values_a_little(write, syntax: UID) -> None:
    bits = {JPEGBaseline8Bit: 8, HTJ2K: 16}.get(syntax, 12)  # what their encoders write
    plain, other = write("plain.dcm", bits=bits), write("other.dcm", bits=bits)
    encode(other, syntax)
    assert pydicom.dcmread(other).file_meta.TransferSyntaxUID == syntax
    apart = np.abs(read_radiograph(plain).values.astype(int) - read_radiograph(other).values) / TOP
    assert 0 < apart.max() < 0.05
    assert apart.mean() < 0.01


def test_12_bits_of_jpeg_are_those_of_another_decoder(write) -> None:
    path = write()
    encode(path, JPEGExtended12Bit)
    dataset = pydicom.dcmread(path)
    assert np.array_equal(decode(dataset), imagecodecs.jpeg8_decode(stream_of(dataset)))
    # Of a device, with a scan whose header says 0 where 63 is meant.
    dataset = pydicom.dcmread(get_testdata_file("JPEG-lossy.dcm", download=False))
    assert np.array_equal(decode(dataset), imagecodecs.jpeg8_decode(stream_of(dataset)))


def test_an_htj2k_stream_is_one(write) -> None:
    """Its markers tell it from JPEG 2000, whose decoder would take either: Rsiz of SIZ has bit 14, and CAP follows."""
    path = write()
    encode(path, HTJ2KLossless)
    stream = stream_of(pydicom.dcmread(path))
    assert stream[6] & 0x40
    assert b"\xff\x50" in stream[:100]


@pytest.mark.parametrize("window", [None, (1700.0, 900.0)])
def test_monochrome_1_and_2_of_one_image_are_one(write, window: tuple[float, float] | None) -> None:
    """The stored values are really inverted, and the window with them: centre c becomes 2^b - c."""
    other = None if window is None else (4096 - window[0], window[1])
    light = read_radiograph(write("one.dcm", window=window))
    dark = read_radiograph(write("two.dcm", window=other, monochrome1=True))
    assert (light.inverted, dark.inverted) == (False, True)
    # 65,535 levels of a window cannot be halved: at ties the two round to neighbours.
    assert int(np.abs(light.values.astype(int) - dark.values.astype(int)).max()) <= 1
    assert len(np.unique(light.values)) > 50


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", None, False),
    ],
)
def test_there_is_one_inversion(write, photometric: str, shape: str | None, inverted: bool) -> None:
    def change(made: FileDataset) -> None:
        made.PhotometricInterpretation = photometric
        if shape is None:
            del made.PresentationLUTShape
        else:
            made.PresentationLUTShape = shape

    plain, other = read_radiograph(write("plain.dcm")), read_radiograph(write("other.dcm", change=change))
    assert other.inverted is inverted
    assert np.array_equal(other.values, TOP - plain.values if inverted else plain.values)


def test_rescale_and_modality_lut_come_before_the_window(write) -> None:
    def rescaled(made: FileDataset) -> None:
        made.RescaleSlope, made.RescaleIntercept = 2, -100
        made.WindowCenter, made.WindowWidth = 2 * 2048 - 100, 2 * 4096

    plain, other = read_radiograph(write("plain.dcm")), read_radiograph(write("other.dcm", change=rescaled))
    np.testing.assert_allclose(plain.values.astype(int), other.values.astype(int), atol=TOP / 4095)

    def looked_up(made: FileDataset) -> None:
        del made.RescaleSlope, made.RescaleIntercept, made.RescaleType
        item = Dataset()
        item.LUTDescriptor, item.ModalityLUTType = [4096, 0, 16], "US"
        item.add_new(0x00283006, "US", [4095 - k for k in range(4096)])
        made.ModalityLUTSequence = [item]
        made.WindowCenter, made.WindowWidth = 2047.5, 4096

    def looked_up_in_12_bits(made: FileDataset) -> None:
        looked_up(made)
        made.ModalityLUTSequence[0].LUTDescriptor = [4096, 0, 12]  # what some devices write for words of 16

    for name, change in (("lut.dcm", looked_up), ("lut12.dcm", looked_up_in_12_bits)):
        reversed_values = read_radiograph(write(name, change=change)).values.astype(int)
        np.testing.assert_allclose(reversed_values, TOP - plain.values.astype(int), atol=TOP / 4095)


def test_bits_above_those_stored_are_no_part_of_the_image(write) -> None:
    def overlaid(made: FileDataset) -> None:
        values = np.frombuffer(made.PixelData, np.uint16).copy()
        values[::7] |= 0x8000
        made.PixelData = values.tobytes()

    assert np.array_equal(
        read_radiograph(write("a.dcm")).values, read_radiograph(write("b.dcm", change=overlaid)).values
    )


def test_pixels_aligned_to_the_left_are_shifted(write) -> None:
    def left(made: FileDataset) -> None:
        values = np.frombuffer(made.PixelData, np.uint16) << 4
        values[::7] |= 0x000F
        made.PixelData, made.HighBit = values.tobytes(), 15

    plain, shifted = read_radiograph(write("a.dcm")).values, write("b.dcm", change=left)
    assert np.array_equal(plain, read_radiograph(shifted).values)
    dataset = pydicom.dcmread(shifted)
    dataset.BitsStored = 16
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.BitsStored = 12
    dataset.save_as(shifted, enforce_file_format=True)
    assert np.array_equal(plain, read_radiograph(shifted).values)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    with pytest.raises(DataError, match="HighBit 15 does not go with BitsStored 12"):
        decode(dataset)


@pytest.mark.parametrize("high", [7, 16])
def test_a_high_bit_that_cannot_be_is_refused(write, high: int) -> None:
    with pytest.raises(DataError, match=f"HighBit {high} does not go with BitsStored 12"):
        read_radiograph(write(change=lambda made: setattr(made, "HighBit", high)))


@pytest.mark.parametrize("limit", [None, 4])
def test_padding_takes_no_part_in_percentiles(write, limit: int | None) -> None:
    def padded(made: FileDataset) -> None:
        values = np.frombuffer(made.PixelData, np.uint16).reshape(256, 256).clip(1000, None).astype(np.uint16)
        values[:, :40] = 0 if limit is None else 3
        made.PixelData, made.PixelPaddingValue = values.tobytes(), 0
        if limit is not None:
            made.PixelPaddingRangeLimit = limit

    def bare(made: FileDataset) -> None:
        values = np.frombuffer(made.PixelData, np.uint16).reshape(256, 256).clip(1000, None).astype(np.uint16)
        made.Columns, made.PixelData = 216, np.ascontiguousarray(values[:, 40:]).tobytes()

    found = read_radiograph(write("a.dcm", change=padded), "percentile").values
    assert np.array_equal(found[:, 40:], read_radiograph(write("b.dcm", change=bare), "percentile").values)
    assert not found[:, :40].any()


def test_signed_values(write) -> None:
    def signed(made: FileDataset) -> None:
        values = np.frombuffer(made.PixelData, np.uint16).astype(np.int32) - 2048
        made.PixelRepresentation = 1
        made.PixelData = (values & 0x0FFF).astype(np.uint16).tobytes()  # 12 bits in two's complement
        made.WindowCenter = 0

    assert np.array_equal(read_radiograph(write("a.dcm")).values, read_radiograph(write("b.dcm", change=signed)).values)


def test_windows_by_key(write) -> None:
    path = write(window=(1000, 500))
    first, whole, percentile = (read_radiograph(path, key) for key in ("first", "none", "percentile"))
    assert whole.window == "full range of the stored bits"
    assert percentile.window == "percentiles .5 and 99.5"
    means = [float(one.values.mean()) for one in (first, whole, percentile)]
    assert len({round(mean) for mean in means}) == 3
    with pytest.raises(ConfigError, match="window 'LUNG' is none of the 1 of this file"):
        read_radiograph(path, "LUNG")


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_code_stream_of_another_size_is_not_decoded(write, syntax: UID) -> None:
    path = write()
    encode(path, syntax)
    dataset = pydicom.dcmread(path)
    dataset.Rows = 128
    dataset.save_as(path)
    with pytest.raises(DataError, match=r"its code stream has \(256, 256\) pixels, its header \(128, 256\)"):
        read_radiograph(path)


def test_damaged_pixels_are_one_sentence(write) -> None:
    path = write()
    encode(path, JPEGLSLossless)
    dataset = pydicom.dcmread(path)
    stream = bytearray(stream_of(dataset))
    stream[1000:1064] = b"\x55" * 64
    put_stream(dataset, bytes(stream))
    dataset.save_as(path)
    with pytest.raises(DataError, match=r"^its pixels cannot be decoded: [A-Za-z]+$"):
        read_radiograph(path)


def test_a_syntax_without_decoder_is_named(write) -> None:
    path = write()
    dataset = pydicom.dcmread(path)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(DataError, match="there is no decoder for MPEG2"):
        read_radiograph(path)


def test_real_files(shared_data: Path) -> None:
    folder = shared_data / "dicom"
    two = read_radiograph(folder / "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm")
    one = read_radiograph(folder / "Fake_MONOHR1.dcm")
    assert pydicom.dcmread(folder / "Fake_MONOHR1.dcm").file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    # The same stored pixels, labelled the other way round.
    assert np.array_equal(one.values, TOP - two.values)
    crc = read_radiograph(folder / "gdcm-CR-MONO1-10-chest.dcm")
    assert (crc.inverted, crc.window) == (True, "550, 1024 LINEAR")
    # Air beside the patient is dark, the mediastinum light.
    assert float(crc.values[200:300, 200:240].mean()) > float(crc.values[:40, :40].mean())
