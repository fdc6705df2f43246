"""Files that hold many small images: IDX (MNIST), CIFAR-10's Python batches, and npz arrays.

One image of such a file has the path ``FILE/NUMBER``, e.g. ``train-images-idx3-ubyte.gz/00042``, so that a record is
still a path and whatever reads images by path reads these too.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import pickle
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitad_med.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK"
_IDX_UBYTE = 0x08
_CIFAR_SHAPE = (3, 32, 32)
# All that a batch of CIFAR-10 consists of. A pickle can have any callable run while it is read; these run nothing.
_PICKLED = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """What one file holds.

    Attributes:
        images: uint8 [N, C, H, W], C = 1 or 3, read-only; None for a file of labels alone.
        labels: int64 [N], or None for a file of images alone.
        classes: names of the labels, where the file has them.
    """

    images: NDArray[np.uint8] | None
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...] = ()


def packed_path(file: Path, index: int) -> Path:
    """Path of one image of a file, counted from 0."""
    return file / f"{index:05d}"


def packed_parts(path: str | Path) -> tuple[Path, int] | None:
    """File and number of an image's path; None for an image with a file of its own."""
    path = Path(path)
    if path.suffix or not path.name.isdecimal() or not path.parent.is_file():
        return None
    return path.parent, int(path.name)


def storage_file(path: str | Path) -> Path:
    """The file in which an image lies."""
    parts = packed_parts(path)
    return parts[0] if parts else Path(path)


def read_packed(file: Path, index: int) -> NDArray[np.uint8]:
    """Pixels [C, H, W] of one image.

    Raises:
        DataError: as :func:`read_pack`, or there are fewer images.
    """
    images = read_pack(file).images
    if images is None or index >= len(images):
        raise DataError(f"{file} has no image number {index}: it holds {0 if images is None else len(images):,}.")
    return images[index]


def content_digest(path: str | Path) -> bytes:
    """SHA-256 of an image's file, or of its pixels where the file holds others too.

    Raises:
        DataError: the file cannot be read.
    """
    parts = packed_parts(path)
    if parts:
        return hashlib.sha256(read_packed(*parts).tobytes()).digest()
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error


def read_pack(file: Path) -> Pack:
    """Read a file whole; the last few are kept in memory until they change on disk.

    Raises:
        DataError: it is missing, damaged, or in none of the three formats.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror}.") from error
    return _read(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)  # CIFAR-10 has six
def _read(file: Path, changed: int, size: int) -> Pack:
    try:
        data = file.read_bytes()
        if data[:2] == _GZIP_MAGIC:
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Cannot read {file}: {error}; copy or download it again.") from error
    if data[:2] == _ZIP_MAGIC:
        return _npz(file, data)
    return _idx(file, data) if data[:2] == b"\0\0" else _batch(file, data)


def _idx(file: Path, data: bytes) -> Pack:
    """The IDX format of MNIST: two zero bytes, type, rank, sizes as big-endian int32, then the values."""
    kind, rank = (data[2], data[3]) if len(data) >= 4 else (0, 0)
    if kind != _IDX_UBYTE or rank not in (1, 3) or len(data) < 4 + 4 * rank:
        raise DataError(
            f"{file} is no IDX file of labels or grey images: it begins with {data[:4].hex(' ')}, and 00 00 08 01 or "
            "00 00 08 03 is expected; copy or download it again."
        )
    shape = tuple(int(side) for side in np.frombuffer(data, ">u4", rank, 4))
    values = data[4 + 4 * rank :]
    if len(values) != math.prod(shape) or not all(shape):
        raise DataError(
            f"{file} announces {' x '.join(f'{side:,}' for side in shape)} values and holds {len(values):,}: it is cut "
            "short or damaged; copy or download it again."
        )
    array = np.frombuffer(values, np.uint8).reshape(shape)
    return Pack(None, array.astype(np.int64)) if rank == 1 else Pack(array[:, None], None)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _PICKLED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no batch of CIFAR-10 needs") from None


def _batch(file: Path, data: bytes) -> Pack:
    """A batch of CIFAR-10's Python version: a pickled dict with rows of 3,072 bytes, red first, and labels."""
    try:
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        rows = np.asarray(content[b"data"])
        labels = np.asarray(content[b"labels"], np.int64)
    except Exception as error:  # a damaged pickle raises anything
        raise DataError(
            f"{file} is neither IDX, nor npz, nor a batch of CIFAR-10's Python version: "
            f"{error or type(error).__name__}; copy or download it again."
        ) from error
    if rows.dtype != np.uint8 or rows.shape != (len(labels), math.prod(_CIFAR_SHAPE)):
        raise DataError(f"{file} holds {rows.dtype} rows of shape {rows.shape} for {len(labels)} labels.")
    return _pack(file, rows.reshape(-1, *_CIFAR_SHAPE), labels, ())


def _npz(file: Path, data: bytes) -> Pack:
    """Arrays ``images`` [N, H, W] or [N, H, W, 3] uint8, ``labels`` [N], and perhaps names, ``classes``."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files if name in ("images", "labels", "classes")}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"Cannot read {file}: {error}; copy or download it again.") from error
    for name in ("images", "labels"):
        if name not in content:
            raise DataError(f"{file} has no array '{name}'; it needs 'images' and 'labels'.")
    images = content["images"]
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3)):
        raise DataError(f"images of {file} are {images.dtype} {images.shape}, not uint8 [N, H, W] or [N, H, W, 3].")
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    if content["labels"].dtype.kind not in "iu":
        raise DataError(f"labels of {file} are {content['labels'].dtype}, not whole numbers.")
    names = tuple(str(name) for name in content.get("classes", ()))
    return _pack(file, images, content["labels"].astype(np.int64), names)


def _pack(file: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], classes: tuple[str, ...]) -> Pack:
    if labels.shape != (len(images),):
        raise DataError(f"{file} holds {len(images):,} images and labels of shape {labels.shape}.")
    images = np.ascontiguousarray(images)
    images.setflags(write=False)
    return Pack(images, labels, classes)
