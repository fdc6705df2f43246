"""The one intensity normalisation of the package: the full range of the stored type goes linearly to [0, 1].

Nothing is stretched to the image's own minimum and maximum: two exposures of one patient stay as different as they were
stored, and an image scored alone is treated exactly as in training. A modality with its own value of interest (a DICOM
window) maps that window to [0, 1] first and then passes through unchanged. `NORMALISATION` is the wording that
metadata and reports carry.
"""

from __future__ import annotations

import numpy as np

NORMALISATION = "full range of the stored bit depth (or of the declared window) mapped linearly to [0, 1]"


def to_unit_range(stored: np.ndarray) -> np.ndarray:
    """Map stored pixel values to [0, 1].

    Args:
        stored: any shape; bool, uint8 (0..255), uint16 (0..65535) or floating values that are in [0, 1] already.

    Returns:
        float32 array of the same shape, values 0..1.

    Raises:
        TypeError: for another integer type, whose full range says nothing about the image.
        ValueError: for floating values outside [0, 1] or not finite.
    """
    if stored.dtype == np.bool_:
        return stored.astype(np.float32)
    if stored.dtype in (np.uint8, np.uint16):
        return stored.astype(np.float32) / np.float32(np.iinfo(stored.dtype).max)
    if np.issubdtype(stored.dtype, np.floating):
        if stored.size and not (np.isfinite(stored).all() and stored.min() >= 0 and stored.max() <= 1):
            raise ValueError("floating-point pixels must be finite and within 0..1; window them first")
        return stored.astype(np.float32)
    raise TypeError(f"no full range is defined for pixels of type {stored.dtype}; use uint8, uint16 or 0..1 floats")


def from_unit_range(image: np.ndarray, dtype: type[np.uint8] | type[np.uint16]) -> np.ndarray:
    """Quantise values 0..1 to the full range of `dtype`, rounded to the nearest level; inverse of `to_unit_range`."""
    top = np.iinfo(dtype).max
    return np.rint(np.clip(image, 0.0, 1.0) * np.float64(top)).astype(dtype)
