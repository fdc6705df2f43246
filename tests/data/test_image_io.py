"""Reading and resizing images: channels, bit depth, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitad_med.data.image_io import read_image, read_stored, resize, stored_bits, to_channels
from vitad_med.errors import DataError


@pytest.fixture
def grey() -> np.ndarray:
    """uint8 [40, 30], every value from 0 to 255 present."""
    return np.random.default_rng(0).permutation(np.arange(1200) % 256).reshape(40, 30).astype(np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_grey_in_any_mode_has_one_channel(tmp_path: Path, grey: np.ndarray, mode: str) -> None:
    Image.fromarray(grey).convert(mode).save(tmp_path / "image.png")
    image = read_image(tmp_path / "image.png")
    assert image.shape == (1, 40, 30)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[0], grey / np.float32(255))


def test_colour_keeps_three_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_stored(tmp_path / "image.png"), pixels.transpose(2, 0, 1))
    one_other_pixel = np.repeat(pixels[..., :1], 3, axis=2)
    one_other_pixel[3, 4, 2] ^= 1
    Image.fromarray(one_other_pixel).save(tmp_path / "image.png")
    assert read_stored(tmp_path / "image.png").shape == (3, 20, 10)


def test_16_bit_is_kept(tmp_path: Path) -> None:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    for name in ("image.png", "image.tif"):
        Image.fromarray(pixels).save(tmp_path / name)
        assert stored_bits(tmp_path / name) == 16
        np.testing.assert_array_equal(read_stored(tmp_path / name)[0], pixels)
        np.testing.assert_allclose(read_image(tmp_path / name)[0], pixels / 65535, atol=1e-7)


def test_grey_jpeg_stored_as_rgb_is_grey(tmp_path: Path, grey: np.ndarray) -> None:
    Image.fromarray(grey).convert("RGB").save(tmp_path / "image.jpg", quality=90)
    assert read_image(tmp_path / "image.jpg").shape == (1, 40, 30)
    assert stored_bits(tmp_path / "image.jpg") == 8


def test_truncated_png_and_jpeg_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (200, 200), dtype=np.uint8)
    for name in ("cut.png", "cut.jpg"):
        file = tmp_path / name
        Image.fromarray(noise).save(file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(DataError, match=f"{name}.*download the file again"):
            read_image(file)


def test_other_files_are_refused(tmp_path: Path, grey: np.ndarray) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(grey.astype(np.int32) * 10_000).save(tmp_path / "int32.tif")
    for name in ("text.png", "empty.png", "absent.png", "float.tif", "int32.tif"):
        with pytest.raises(DataError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(DataError, match=r"text\.png"):
        stored_bits(tmp_path / "text.png")


def test_to_channels() -> None:
    grey = np.random.default_rng(3).random((1, 5, 4), dtype=np.float32)
    three = to_channels(grey, 3)
    assert three.shape == (3, 5, 4)
    np.testing.assert_allclose(to_channels(three, 1), grey, atol=1e-6)
    assert to_channels(grey, 1) is grey
    green = np.zeros((3, 1, 1), np.float32)
    green[1] = 1
    assert to_channels(green, 1).item() == pytest.approx(0.587)


def test_resize_is_pillows_antialiased_bilinear() -> None:
    image = np.random.default_rng(4).random((57, 43), dtype=np.float32)
    for size in ((20, 31), (90, 100)):
        expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        np.testing.assert_allclose(resize(image[None], size)[0], expected, atol=1e-5)


def test_resize_kinds_and_shapes() -> None:
    array = np.random.default_rng(5).random((2, 3, 16, 8), dtype=np.float32)
    out = resize(array, 4)
    assert isinstance(out, np.ndarray)
    assert out.shape == (2, 3, 4, 4)
    assert out.mean() == pytest.approx(array.mean(), abs=1e-3)  # halving: every pixel counts about as much
    tensor = resize(torch.from_numpy(array), (4, 4))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), out, atol=1e-6)
    assert resize(array, (16, 8)) is array
