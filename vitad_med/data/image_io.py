"""Read PNG, JPEG, TIFF, NIfTI and DICOM files, and images that lie with others in one file, to floats, and resize them.

Pillow decodes: it is installed with torchvision and matplotlib anyway, and it raises on a truncated file, where OpenCV
returns a half-filled image after a line on stderr. A 1024 px chest X-ray takes about 11 ms (OpenCV: about 9 ms).
What Pillow would cut from 16 to 8 bits is decoded in `vitad_med.data.png16`, or refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from vitad_med.data.intensity import to_unit_range
from vitad_med.data.nifti import is_nifti, read_plane, read_plane_header
from vitad_med.data.packed import packed_parts, read_packed
from vitad_med.data.png16 import is_png16_colour, read_png16_colour
from vitad_med.errors import DataError

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray, torch.Tensor)

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file.

    A file whose colour channels are equal everywhere is grey and comes back with one channel, whatever its mode (RGB,
    RGBA, palette); an alpha channel is dropped. 8 and 16 bit are kept, see `vitad_med.data.intensity`.

    Returns:
        float32 array [C, H, W], values 0..1, C = 1 for anything really grey, else 3.

    Raises:
        DataError: the file is missing, truncated, not an image, or of a pixel type without a full range.
    """
    try:
        return to_unit_range(read_stored(path))
    except (TypeError, ValueError) as error:
        raise DataError(f"Cannot use the pixels of {path}: {error}.") from error


def read_stored(path: str | Path) -> np.ndarray:
    """As `read_image`, but the stored integers: uint8 or uint16 array [C, H, W]."""
    if parts := packed_parts(path):
        return read_packed(*parts)
    try:
        head = _head(path)
        if is_dicom(head):
            return _radiograph(path)
        if is_nifti(path):
            return _plane(path)
        if is_png16_colour(head):
            pixels = _without_alpha(read_png16_colour(path))
        else:
            with Image.open(path) as picture:
                pixels = _decode(picture)
    except FileNotFoundError as error:
        raise DataError(f"Image file {path} does not exist.") from error
    except UnidentifiedImageError as error:
        raise DataError(f"Cannot read image {path}: it is damaged or in no image format known here.") from error
    except (ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"Cannot read image {path}: {error}.") from error
    except (OSError, SyntaxError, EOFError) as error:  # Pillow raises these for truncated and damaged files
        raise DataError(f"Cannot read image {path}: {error}; copy or download the file again.") from error
    if pixels.ndim == 2:
        return pixels[None]
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red[None].copy()
    return np.ascontiguousarray(pixels[..., :3].transpose(2, 0, 1))


def stored_bits(path: str | Path) -> int:
    """Bit depth, 8 or 16, from the file's header alone (the pixels are not decoded)."""
    if packed_parts(path):
        return 8
    try:
        head = _head(path)
        if is_png16_colour(head) or is_dicom(head):
            return 16
        if is_nifti(path):
            plane = read_plane_header(path)
            return 8 if plane.has_full_range and plane.dtype.itemsize == 1 else 16
        with Image.open(path) as picture:
            return 16 if picture.mode.startswith("I") else 8
    except FileNotFoundError as error:
        raise DataError(f"Image file {path} does not exist.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"Cannot read image {path}: its header is damaged or no image format known here.") from error


def is_dicom(head: bytes) -> bool:
    """Whether a file with these first 132 bytes is a DICOM file."""
    return head[128:132] == b"DICM"


def _head(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(132)


def _radiograph(path: str | Path) -> np.ndarray:
    """Values of a DICOM radiograph through its first LUT or window, dark to light, uint16 [1, H, W]."""
    from vitad_med.data.dicom.pixels import read_radiograph  # pydicom is for those who have DICOM files

    try:
        return read_radiograph(path).values[None]
    except DataError as error:
        raise DataError(f"Cannot read image {path}: {error}.") from error


def _plane(path: str | Path) -> np.ndarray:
    """Values of a plane: bytes and unsigned words as they are, others through a window of percentiles; [1, H, W]."""
    from vitad_med.data.dicom.windows import percentile_window

    values = read_plane(path)
    if values.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(values)[None]
    if not np.isfinite(values).all():
        raise DataError(f"Image {path} holds values that are no numbers; replace them by the background's.")
    occurring, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    occurring = occurring.astype(np.float64)
    codes = np.rint(percentile_window(occurring, counts)(occurring) * np.iinfo(np.uint16).max).astype(np.uint16)
    return codes[places.reshape(values.shape)][None]


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    """[H, W, 2 to 4] -> [H, W] or [H, W, 3]."""
    return pixels[..., 0] if pixels.shape[-1] == 2 else pixels[..., :3]


def refusal(picture: Image.Image) -> str:
    """Why the pixels of an opened picture have no use here, from its header; an empty text where they have."""
    if picture.mode == "F":
        return "floating-point files have no agreed full range; store 8 or 16 bits"
    if 16 in _tiff_bits(picture) and not picture.mode.startswith("I"):
        return "Pillow cuts TIFF files with 16 bits a colour to 8; store 16-bit grey, or PNG"
    return ""


def _decode(picture: Image.Image) -> np.ndarray:
    """Pixels of an opened picture: [H, W] or [H, W, 3], uint8 or uint16."""
    if refused := refusal(picture):
        raise ValueError(refused)
    if picture.mode.startswith("I"):  # I;16, I;16B, and I for 16-bit PNG
        pixels = np.asarray(picture)
        if pixels.min(initial=0) < 0 or pixels.max(initial=0) > np.iinfo(np.uint16).max:
            raise ValueError("32-bit integers have no agreed full range; store 8 or 16 bits")
        return pixels.astype(np.uint16)
    if picture.mode in ("L", "RGB"):
        return np.asarray(picture)
    if picture.mode in ("1", "LA", "La"):
        return np.asarray(picture.convert("L"))
    return np.asarray(picture.convert("RGBA"))[..., :3]


def _tiff_bits(picture: Image.Image) -> tuple[int, ...]:
    bits_per_sample = 258  # TIFF 6.0, section 8
    return tuple(picture.tag_v2.get(bits_per_sample, ())) if isinstance(picture, TiffImageFile) else ()


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Repeat one channel to three, or reduce three to luma (ITU-R BT.601).

    Args:
        image: float [1 or 3, H, W].
        channels: 1 or 3.
    """
    if image.shape[0] == channels:
        return image
    if channels == 1:
        return np.tensordot(LUMA, image, axes=(0, 0))[None].astype(image.dtype)
    return np.repeat(image, channels, axis=0)


def resize(image: ArrayOrTensor, size: int | tuple[int, int]) -> ArrayOrTensor:
    """Resize bilinearly with antialiasing, the whole image to the whole grid: nothing is cropped, aspect is not kept.

    Args:
        image: float array or tensor [..., H, W].
        size: side, or (height, width), in pixels.

    Returns:
        The same kind and type, [..., height, width].
    """
    height, width = (size, size) if isinstance(size, int) else size
    if tuple(image.shape[-2:]) == (height, width):
        return image
    tensor = torch.as_tensor(image)
    flat = tensor.reshape(1, -1, *tensor.shape[-2:])
    out = torch.nn.functional.interpolate(flat, (height, width), mode="bilinear", antialias=True, align_corners=False)
    out = out.reshape(*tensor.shape[:-2], height, width)
    return out.numpy() if isinstance(image, np.ndarray) else out
