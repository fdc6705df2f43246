"""Planes stored as NIfTI: radiographs that tools export, and maps.

NIfTI's first axis is x. Element ``[x, y]`` of the file is the pixel in column x, counted from the left, and row y,
counted from the top: what SimpleITK writes of an array ``[H, W]``, and nibabel of its transpose. The affine must be
diagonal, with x and y of the same sign: positive as in ``numpy.eye(4)``, negative as ITK writes every picture (it turns
its LPS axes into NIfTI's RAS). A file that flips one axis, turns the plane or exchanges axes is refused: programs
disagree about the direction of y in a plane without a patient, and a guess would move every figure.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from vitad_med.errors import DataError

SUFFIXES = (".nii", ".nii.gz")

_LAYOUT = "write element [x, y] = column from the left, row from the top, with the affine numpy.eye(4)"
_DAMAGE = (ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError, OverflowError, zlib.error)


@dataclass(frozen=True, slots=True)
class Plane:
    """What the header of a file says.

    Attributes:
        shape: as stored, x first.
        dtype: of the stored values.
        scaled: slope and intercept change them.
        missing: bytes of values that the file lacks; 0 for a compressed one, whose length is known when it is read.
        upright: neither turned nor mirrored.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    scaled: bool
    missing: int
    upright: bool

    @property
    def is_one(self) -> bool:
        """Whether it is one plane and no volume."""
        return len(self.shape) >= 2 and all(side == 1 for side in self.shape[2:])

    @property
    def has_full_range(self) -> bool:
        """Whether the stored type says what 0 and 1 are: bytes and unsigned words as they are."""
        return not self.scaled and self.dtype in (np.uint8, np.uint16)


def is_nifti(path: str | Path) -> bool:
    """By the file's name."""
    return str(path).lower().endswith(SUFFIXES)


def read_plane_header(path: str | Path) -> Plane:
    """Look at the header; no value is read.

    Raises:
        DataError: damaged.
    """
    with _errors("Image", path):
        file = _open(path)
        stored: Any = file.dataobj  # the header of an opened file has its scale and offset taken out
        dtype = file.get_data_dtype().newbyteorder("=")
        shape = tuple(int(side) for side in file.shape)
        if any(side < 1 for side in shape):
            raise ValueError(f"it has the shape {list(shape)}")
        missing = 0
        if not str(path).lower().endswith(".gz"):
            end = int(stored.offset) + int(np.prod(shape, dtype=object)) * dtype.itemsize
            missing = max(0, end - os.stat(path).st_size)
        scaled = (float(stored.slope), float(stored.inter)) != (1.0, 0.0)
        return Plane(shape, dtype, scaled, missing, _turned(file) == "")


def read_plane(path: str | Path, kind: str = "Image", instead: str = "store it as PNG or DICOM") -> NDArray:
    """Read one plane of numbers.

    Args:
        path: the file.
        kind: what it is, for messages.
        instead: what else may be done, for messages.

    Returns:
        [H, W], rows from the top, in the stored type, or float64 where the header's slope and intercept were applied.

    Raises:
        DataError: damaged, not one plane of real numbers, or in an orientation that is not the picture's.
    """
    with _errors(kind, path):
        file = _open(path)
        shape = file.shape
        if len(shape) < 2 or any(side != 1 for side in shape[2:]):
            raise DataError(
                f"{kind} {path} has the shape {list(shape)}, but must be one plane [x, y]; {_LAYOUT}, or {instead}."
            )
        if turned := _turned(file):
            raise DataError(f"{kind} {path} is {turned}; {_LAYOUT}, or {instead}.")
        values = np.asanyarray(file.dataobj)
    if values.dtype.kind not in "buif":
        raise DataError(f"{kind} {path} holds values of type {values.dtype}, but must hold one number a pixel.")
    return values.astype(values.dtype.newbyteorder("="), copy=False).reshape(shape[:2]).T


def _open(path: str | Path) -> nibabel.Nifti1Image:
    file = nibabel.load(path)
    if not isinstance(file, nibabel.Nifti1Image):  # NIfTI-2 is one too
        raise ImageFileError("it is no NIfTI file")
    return file


@contextmanager
def _errors(kind: str, path: str | Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"Cannot read {kind.lower()} {path}: {error}; write it again.") from error


def _turned(file: nibabel.Nifti1Image) -> str:
    """How a plane lies other than a picture, or an empty text."""
    header = file.header
    if not header["sform_code"] and not header["qform_code"]:
        return ""  # states no orientation; nibabel would make one up, with x flipped
    affine = np.asarray(file.affine, dtype=np.float64)
    plane = affine[:2, :2]
    outside = np.abs(affine[2, :2]).max()
    scale = np.abs(np.diag(plane)).min()
    if max(abs(plane[0, 1]), abs(plane[1, 0]), outside) > 1e-3 * scale or scale == 0:
        axes = "".join(str(code) for code in nibabel.aff2axcodes(affine)[:2])
        return f"turned: its affine lets x and y run along {axes}"
    if plane[0, 0] * plane[1, 1] < 0:
        return f"mirrored: its affine flips {'x' if plane[0, 0] < 0 else 'y'} alone"
    return ""
