"""Maps of plane images stored as NIfTI.

NIfTI's first axis is x. Element ``[x, y]`` of the file is the pixel in column x, counted from the left, and row y,
counted from the top: what SimpleITK writes of an array ``[H, W]``, and nibabel of its transpose. The affine must be
diagonal, with x and y of the same sign: positive as in ``numpy.eye(4)``, negative as ITK writes every picture (it turns
its LPS axes into NIfTI's RAS). A file that flips one axis, turns the plane or exchanges axes is refused: programs
disagree about the direction of y in a plane without a patient, and a guess would move every figure.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from vitad_med.errors import DataError

_REMEDY = (
    "write element [x, y] = column from the left, row from the top, with the affine numpy.eye(4), or save the map "
    "as .npy [H, W]"
)


def read_nifti(path: Path) -> NDArray[np.float64]:
    """Read a plane.

    Returns:
        [H, W], rows from the top; the header's slope and intercept are applied.

    Raises:
        DataError: damaged, not one plane of real numbers, or in an orientation that is not the picture's.
    """
    try:
        file = nibabel.Nifti1Image.from_filename(path)
        shape = file.shape
        if len(shape) < 2 or any(side != 1 for side in shape[2:]):
            raise DataError(f"Map {path} has the shape {list(shape)}, but must be one plane [x, y]; {_REMEDY}.")
        _check_orientation(file, path)
        values = np.asanyarray(file.dataobj)
    except (ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"Cannot read map {path}: {error}; write it again.") from error
    if values.dtype.kind not in "buif":
        raise DataError(f"Map {path} holds values of type {values.dtype}, but must hold one number a pixel.")
    return np.asarray(values, dtype=np.float64).reshape(shape[:2]).T


def _check_orientation(file: nibabel.Nifti1Image, path: Path) -> None:
    header = file.header
    if not header["sform_code"] and not header["qform_code"]:
        return  # states no orientation; nibabel would make one up, with x flipped
    affine = np.asarray(file.affine, dtype=np.float64)
    plane = affine[:2, :2]
    outside = np.abs(affine[2, :2]).max()
    scale = np.abs(np.diag(plane)).min()
    if max(abs(plane[0, 1]), abs(plane[1, 0]), outside) > 1e-3 * scale or scale == 0:
        axes = "".join(str(code) for code in nibabel.aff2axcodes(affine)[:2])
        raise DataError(f"Map {path} is turned: its affine lets x and y run along {axes}; {_REMEDY}.")
    if plane[0, 0] * plane[1, 1] < 0:
        raise DataError(f"Map {path} is mirrored: its affine flips {'x' if plane[0, 0] < 0 else 'y'} alone; {_REMEDY}.")
