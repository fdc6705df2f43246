"""Map files: ``.npy``, grey ``.png``, ``.nii`` and ``.nii.gz``, and how they come to the evaluation grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vitad_med.data.image_io import read_stored, resize
from vitad_med.data.intensity import to_unit_range
from vitad_med.errors import DataError
from vitad_med.predictions.nifti import read_nifti


def read_map(path: Path) -> NDArray[np.float32]:
    """Read a map as it is stored.

    Returns:
        float32 [H, W], rows from the top, higher where more anomalous; NaN and infinite values are kept. PNG: the full
        range of 8 or 16 bits is 0..1.

    Raises:
        DataError: missing, damaged, or not one number a pixel.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = _read_npy(path)
    elif suffix == ".png":
        channels = read_stored(path)
        if len(channels) != 1:
            raise DataError(f"Map {path} is a colour picture; save the values themselves, as grey PNG or .npy.")
        values = to_unit_range(channels[0])
    else:
        values = read_nifti(path)
    if not values.size:
        raise DataError(f"Map {path} has the shape {list(values.shape)} and no pixel; write it again.")
    with np.errstate(over="ignore"):  # becomes infinite, which the check of values reports
        return np.ascontiguousarray(values, dtype=np.float32)


def on_grid(values: NDArray[np.float32], size: int, path: Path) -> NDArray[np.float32]:
    """Resize a map whole to [size, size].

    Raises:
        DataError: NaN or infinite values.
    """
    if not np.isfinite(values).all():
        raise DataError(f"Map {path} holds NaN or infinite values; leave the image out with --drop-invalid.")
    return resize(values, size)


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header of an image file alone."""
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"Cannot read {path}: it is damaged or no image format known here.") from error


def check_aspect(what: str, path: Path, shape: tuple[int, int], image: tuple[int, int]) -> None:
    """A map or mask shows its whole image: in the image's aspect ratio to a pixel, or square.

    Square is what a network returns that saw the image resized whole to a square. For a square image nothing can be
    said: a turned map has the same shape.

    Args:
        what: ``Map`` or ``Mask``, for the message.
        path: its file.
        shape: its (height, width).
        image: (height, width) of the image.

    Raises:
        DataError: says what was found and the remedy.
    """
    (height, width), (image_height, image_width) = shape, image
    if height == width or _same_aspect(height, width, image_height, image_width):
        return
    found = f"{what} {path} is {height} high and {width} wide, its image {image_height} high and {image_width} wide"
    if _same_aspect(width, height, image_height, image_width):
        raise DataError(f"{found}: it is turned or transposed; save it as [height, width], rows from the top.")
    raise DataError(f"{found}: it does not show the whole image; undo cropping and padding, or resize it to the image.")


def _same_aspect(height: int, width: int, image_height: int, image_width: int) -> bool:
    return (
        abs(width - height * image_width / image_height) <= 1 or abs(height - width * image_height / image_width) <= 1
    )


def _read_npy(path: Path) -> NDArray[np.generic]:
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"Cannot read map {path}: {error}; write it again with numpy.save.") from error
    if values.ndim != 2:
        raise DataError(
            f"Map {path} has the shape {list(values.shape)}, but must be [H, W]; take away axes of one, e.g. map[0]."
        )
    if values.dtype.kind not in "buif":
        raise DataError(f"Map {path} holds values of type {values.dtype}, but must hold one number a pixel.")
    return values
