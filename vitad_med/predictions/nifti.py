"""Maps of plane images stored as NIfTI; how they must lie in the file: `vitad_med.data.nifti`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitad_med.data.nifti import read_plane


def read_nifti(path: Path) -> NDArray[np.float64]:
    """Read a plane.

    Returns:
        [H, W], rows from the top; the header's slope and intercept are applied.

    Raises:
        DataError: damaged, not one plane of real numbers, or in an orientation that is not the picture's.
    """
    return np.asarray(read_plane(path, "Map", "save the map as .npy [H, W]"), dtype=np.float64)
