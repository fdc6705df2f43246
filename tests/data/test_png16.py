"""16-bit colour PNG against an independent encoder, every row filter, and damaged files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from vitad_med.data.image_io import read_stored, stored_bits
from vitad_med.data.png16 import CHANNELS, SIGNATURE
from vitad_med.errors import DataError


def paeth(left: int, up: int, corner: int) -> int:
    """PNG specification, section 9.4."""
    estimate = left + up - corner
    return min((left, up, corner), key=lambda value: abs(estimate - value))


def encode(pixels: np.ndarray, colour_type: int, kinds: np.ndarray, interlace: int = 0) -> bytes:
    """Write uint16 [H, W, samples] byte by byte with the given filter for each row."""
    height, width, samples = pixels.shape
    step = 2 * samples
    rows = pixels.astype(">u2").tobytes()
    plain = [rows[r * width * step : (r + 1) * width * step] for r in range(height)]
    body = bytearray()
    for row, kind in enumerate(kinds):
        body.append(kind)
        above = plain[row - 1] if row else bytes(width * step)
        for i, value in enumerate(plain[row]):
            left = plain[row][i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            predicted = (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[kind]
            body.append((value - predicted) & 255)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, interlace)
    packed = zlib.compress(bytes(body))
    halves = chunk(b"IDAT", packed[:50]) + chunk(b"IDAT", packed[50:])
    return SIGNATURE + chunk(b"IHDR", header) + halves + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour_type", sorted(CHANNELS))
@pytest.mark.parametrize("shape", [(23, 9), (5, 31), (1, 7), (7, 1)])
def test_every_filter_and_colour_type(tmp_path: Path, colour_type: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(colour_type)
    pixels = rng.integers(0, 65536, (*shape, CHANNELS[colour_type]), dtype=np.uint16)
    file = tmp_path / "image.png"
    file.write_bytes(encode(pixels, colour_type, rng.permutation(np.arange(shape[0]) % 5)))
    assert stored_bits(file) == 16
    expected = pixels[..., :1] if colour_type == 4 else pixels[..., :3]
    np.testing.assert_array_equal(read_stored(file), expected.transpose(2, 0, 1))


def test_grey_stored_as_16_bit_rgb_has_one_channel(tmp_path: Path) -> None:
    grey = np.arange(12 * 10, dtype=np.uint16).reshape(12, 10, 1) * 500
    (tmp_path / "image.png").write_bytes(encode(np.repeat(grey, 3, axis=2), 2, np.full(12, 4)))
    np.testing.assert_array_equal(read_stored(tmp_path / "image.png"), grey.transpose(2, 0, 1))


def test_files_written_by_opencv(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    coarse = np.random.default_rng(1).integers(0, 65536, (9, 7, 4), dtype=np.uint16)
    smooth = cv2.resize(coarse, (120, 90), interpolation=cv2.INTER_CUBIC)
    for samples in (3, 4):
        file = str(tmp_path / "image.png")
        assert cv2.imwrite(file, smooth[..., :samples])
        np.testing.assert_array_equal(read_stored(file), smooth[..., 2::-1].transpose(2, 0, 1))


def test_damage_is_named(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 65536, (20, 20, 3), dtype=np.uint16)
    good = encode(pixels, 2, np.zeros(20, int))
    flipped = bytearray(good)
    flipped[200] ^= 1
    interlaced = encode(pixels, 2, np.zeros(20, int), interlace=1)
    for data, reason in (
        (good[:-30], "truncated"),
        (good[:-12], "truncated"),
        (bytes(flipped), "checksum"),
        (interlaced, "interlaced"),
    ):
        (tmp_path / "bad.png").write_bytes(data)
        with pytest.raises(DataError, match=rf"bad\.png.*{reason}"):
            read_stored(tmp_path / "bad.png")
