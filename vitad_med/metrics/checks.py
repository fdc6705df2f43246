"""Checks on the arrays that every metric receives."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vitad_med.errors import DataError


def as_numpy(values: ArrayLike | torch.Tensor) -> NDArray:
    """Return values as a numpy array on the host; bfloat16, which numpy lacks, becomes float32."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def require_finite(values: NDArray, what: str) -> None:
    """Raise DataError that counts the NaN and infinite values, if there are any."""
    if not np.issubdtype(values.dtype, np.inexact):
        return
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        nan = int(np.count_nonzero(np.isnan(values)))
        raise DataError(
            f"{what}: {bad} of {values.size} values are not finite ({nan} NaN, {bad - nan} infinite); "
            "find the images that produce them before scoring."
        )


def as_scores(values: ArrayLike | torch.Tensor, what: str = "scores") -> NDArray:
    """Return finite scores as a flat numpy array, or raise DataError."""
    scores = as_numpy(values).ravel()
    require_finite(scores, what)
    return scores


def as_binary(values: ArrayLike | torch.Tensor, length: int, what: str = "labels") -> NDArray[np.bool_]:
    """Return labels as a flat bool array of the given length; anything but 0 and 1 is a DataError."""
    labels = as_numpy(values).ravel()
    if labels.size != length:
        raise DataError(f"{what}: {labels.size} values for {length} scores; give one label to each score.")
    if labels.dtype != np.bool_:
        bad = int(np.count_nonzero((labels != 0) & (labels != 1)))
        if bad:
            raise DataError(f"{what}: {bad} of {labels.size} values are neither 0 nor 1; give 0 normal, 1 abnormal.")
        labels = labels == 1
    return labels


def as_maps(maps: ArrayLike | torch.Tensor, masks: ArrayLike | torch.Tensor) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return maps [N, P] and masks bool [N, P] with the pixels of each image in one row, without copying maps.

    Finiteness is checked where the values are read, block by block, so that memory-mapped maps stay on disk.

    Raises:
        DataError: the two differ in shape, are not [N, H, W] (or [N, P]), or a mask holds other values than 0 and 1.
    """
    m, t = as_numpy(maps), as_numpy(masks)
    if m.shape != t.shape or m.ndim not in (2, 3):
        raise DataError(f"maps {list(m.shape)} and masks {list(t.shape)} must both have shape [N, H, W].")
    if t.dtype != np.bool_:
        if t.size and (t.min() < 0 or t.max() > 1 or not np.array_equal(t, t.astype(np.bool_))):
            raise DataError("masks hold values other than 0 and 1; give 1 inside the boxes or lesions, else 0.")
        t = t.astype(np.bool_)
    pixels = int(np.prod(m.shape[1:]))
    return m.reshape(len(m), pixels), t.reshape(len(t), pixels)


def as_weights(weights: ArrayLike, images: int) -> NDArray[np.float64]:
    """Return weights as float64 [R, N] (a single vector becomes [1, N]); negative or misshapen ones are a DataError."""
    w = np.atleast_2d(np.asarray(weights, dtype=np.float64))
    if w.ndim != 2 or w.shape[1] != images:
        raise DataError(f"weights {list(np.shape(weights))} must have shape [{images}] or [replicates, {images}].")
    if not np.isfinite(w).all() or (w < 0).any():
        raise DataError("weights must be finite and not negative.")
    return w


def as_result(values: NDArray[np.float64], weights: ArrayLike | None) -> float | NDArray[np.float64]:
    """Return the values [R] of replicates, or a float when weights were a single vector or none at all."""
    return values if weights is not None and np.ndim(weights) == 2 else float(values[0])
