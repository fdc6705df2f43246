"""Small pictures for the worklist: the X-ray, and its heat map as a transparent layer to lay over it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from vitad_med.errors import DataError, StorageError
from vitad_med.evaluation.files import write_bytes
from vitad_med.reporting.page.records import Corners, Thumbnail

FOLDER = "thumbnails"
"""Folder beside the page for pictures that are not inside it."""

_OWN_NAME = re.compile(r"\d{5,}\.(jpg|png)")
XRAY_SIZE = 224
HEAT_SIZE = 112  # maps are smooth, and the browser interpolates
JPEG_QUALITY = 80
SCALE_PERCENTILES = (1.0, 99.9)

# Few levels compress well and differ less than the eye sees through a half-transparent layer.
_LEVELS = 64
# Lightness rises evenly in inferno, so that it reads the same with every kind of colour vision and in grey; its darkest
# part is left out, because black over an X-ray looks like lung.
_COLOURS = (0.25, 0.98)
_OUTLINE_SIZE = 112


def heat_palette() -> NDArray[np.uint8]:
    """Colours of the heat map from low to high, transparent to opaque.

    Returns:
        uint8 [64, 4], red, green, blue, alpha.
    """
    position = np.linspace(0, 1, _LEVELS)
    palette = matplotlib.colormaps["inferno"](_COLOURS[0] + (_COLOURS[1] - _COLOURS[0]) * position)
    palette[:, 3] = position
    return np.round(255 * palette).astype(np.uint8)


def make_thumbnail(
    index: int,
    image: NDArray[np.floating],
    heat: NDArray[np.floating],
    boxes: Iterable[Corners] = (),
    mask: NDArray[np.bool_] | None = None,
) -> Thumbnail:
    """Pictures of one image; the same input gives the same bytes.

    The colours of a map run from its own 1st to its 99.9th percentile: they compare places within an image, never
    images with one another.

    Args:
        index: position of the image's row.
        image: [H, W], 0..1, black to white.
        heat: [H, W], finite, higher where more anomalous.
        boxes: x, y, width, height in fractions of the image.
        mask: [H, W], True where the image is abnormal.

    Raises:
        DataError: image, map and mask are not of one two-dimensional shape, or hold NaN or infinity.
    """
    shapes = {array.shape for array in (image, heat, mask) if array is not None}
    if len(shapes) != 1 or image.ndim != 2:
        raise DataError(f"image, map and mask of row {index} must have one shape [H, W], not {sorted(shapes)}.")
    if not (np.isfinite(image).all() and np.isfinite(heat).all()):
        raise DataError(f"image or map of row {index} holds NaN or infinity; exclude it from the pictures.")
    return Thumbnail(
        index,
        _jpeg(image),
        _heat_png(heat),
        boxes=tuple((round(x, 4), round(y, 4), round(w, 4), round(h, 4)) for x, y, w, h in boxes),
        outline=() if mask is None else _outline(mask),
    )


def store_thumbnails(page_folder: Path, thumbnails: Iterable[Thumbnail]) -> list[Thumbnail]:
    """Move pictures into files of a folder beside the page: ``thumbnails/00012.jpg`` and ``thumbnails/00012.png``.

    File names are positions in the worklist, so they carry no identifier. Thumbnails that name files already are kept.

    Raises:
        StorageError: a file cannot be written.
    """
    stored = []
    for thumbnail in thumbnails:
        name = f"{FOLDER}/{thumbnail.index:05d}"
        xray = _stored(page_folder, f"{name}.jpg", thumbnail.xray)
        stored.append(replace(thumbnail, xray=xray, heat=_stored(page_folder, f"{name}.png", thumbnail.heat)))
    return stored


def remove_thumbnails(page_folder: Path) -> None:
    """Remove the pictures that an earlier report left beside the page; other files in the folder stay.

    Raises:
        StorageError: a picture cannot be removed.
    """
    for path in sorted((page_folder / FOLDER).glob("*")):
        if _OWN_NAME.fullmatch(path.name):
            try:
                path.unlink()
            except OSError as error:
                raise StorageError(f"cannot remove the old picture '{path}': {error.strerror}; remove it.") from error


def _stored(page_folder: Path, name: str, picture: bytes | str) -> str:
    if isinstance(picture, str):
        return picture
    write_bytes(page_folder / name, picture)
    return name


def _jpeg(image: NDArray[np.floating]) -> bytes:
    grey = Image.fromarray(np.round(255 * np.clip(image, 0, 1)).astype(np.uint8))
    return _encoded(_fitted(grey, XRAY_SIZE), "JPEG", quality=JPEG_QUALITY, optimize=True)


def _heat_png(heat: NDArray[np.floating]) -> bytes:
    low, high = np.percentile(heat, SCALE_PERCENTILES)
    small = np.asarray(_fitted(Image.fromarray(heat.astype(np.float32)), HEAT_SIZE))
    # A constant map has nothing to show, so it stays transparent.
    share = np.clip((small - low) / (high - low), 0, 1) if high > low else np.zeros_like(small)
    picture = Image.fromarray(np.round((_LEVELS - 1) * share).astype(np.uint8))
    palette = heat_palette()
    picture.putpalette(palette[:, :3].tobytes())
    return _encoded(picture, "PNG", optimize=True, transparency=palette[:, 3].tobytes())


def _fitted(picture: Image.Image, longest: int) -> Image.Image:
    scale = longest / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _outline(mask: NDArray[np.bool_]) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Closed polygons around the mask in fractions of the image."""
    small = _fitted(Image.fromarray(mask.astype(np.float32)), _OUTLINE_SIZE)
    # A border of zeros closes outlines that run along the edge of the image.
    field = np.pad(np.asarray(small), 1)
    height, width = small.height, small.width
    segments = Figure().add_subplot().contour(field, levels=[0.5]).allsegs[0] if field.max() >= 0.5 else []
    return tuple(_polygon(segment, width, height) for segment in segments)


def _polygon(segment: Sequence[Sequence[float]] | NDArray, width: int, height: int) -> tuple[tuple[float, float], ...]:
    points = np.clip((np.asarray(segment) - 0.5) / (width, height), 0, 1)
    return tuple((round(float(x), 4), round(float(y), 4)) for x, y in points)


def _encoded(picture: Image.Image, kind: str, **settings: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **settings)
    return stream.getvalue()
