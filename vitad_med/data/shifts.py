"""Shifts that hospitals have: what acquisition, export and display do to whole images between training and use.

Kinds and strengths are this project's. Each shift changes intensities alone: boxes and masks stay valid. All are
deterministic, so that every method sees the same shifted images in every run.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from vitad_med.data.image_io import resize
from vitad_med.data.intensity import from_unit_range, to_unit_range
from vitad_med.errors import ConfigError

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray, torch.Tensor)

GAMMA = 1.8
WINDOW_PERCENTILES = (10.0, 90.0)
BLUR_SIGMA = 0.008  # of the shorter side: 1.8 pixels at 224, 4.1 at 512
JPEG_QUALITY = 20
LOW_RESOLUTION = 4
NOISE_SIGMA = 0.04

SHIFTS: dict[str, str] = {
    "none": "the image as it is",
    "inverted": "MONOCHROME1 read as MONOCHROME2: 1 - x",
    "gamma": f"another display curve: x to the power {GAMMA:g}, darker middle tones",
    "window": "a narrow window: values cut at the image's percentiles {:g} and {:g}, stretched to 0..1".format(
        *WINDOW_PERCENTILES
    ),
    "blur": f"Gaussian blur, sigma {BLUR_SIGMA:g} of the shorter side",
    "jpeg": f"JPEG of quality {JPEG_QUALITY}, 8 bit",
    "low_resolution": f"down to 1/{LOW_RESOLUTION} of the side and up again",
    "noise": f"Gaussian noise, standard deviation {NOISE_SIGMA:g} of the full range",
}
"""Names of the shifts, each with one line on what it does and how strongly."""


def check_shift(name: str) -> None:
    """Raise ConfigError, with the list of names, unless ``name`` is one of ``SHIFTS``."""
    if name not in SHIFTS:
        raise ConfigError(f"shift is {name!r}, but must be one of {', '.join(map(repr, SHIFTS))}")


def shift(image: ArrayOrTensor, name: str) -> ArrayOrTensor:
    """Apply a shift to one whole image.

    Sides are relative, except for JPEG, whose blocks are 8 pixels at any size: it stands for compression at the size
    that the network sees.

    Args:
        image: float32 array or tensor [C, H, W], values 0..1, C = 1 or 3. It is not changed.
        name: one of ``SHIFTS``.

    Returns:
        The same kind on the same device, float32 [C, H, W], values 0..1; ``none`` returns ``image`` itself. Channels
        that are equal stay equal.

    Raises:
        ConfigError: unknown name.
    """
    check_shift(name)
    if name == "none":
        return image
    # Nothing finer than float32: values that differ in rounding alone must not draw another noise.
    pixels = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else image
    shifted = _FUNCTIONS[name](np.ascontiguousarray(pixels, dtype=np.float32)).clip(0, 1)
    return torch.from_numpy(shifted).to(image.device) if isinstance(image, torch.Tensor) else shifted


def _invert(image: np.ndarray) -> np.ndarray:
    return 1 - image


def _gamma(image: np.ndarray) -> np.ndarray:
    return image**GAMMA


def _window(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, WINDOW_PERCENTILES).astype(np.float32)
    # Most of the image has one value: no such window exists.
    return image if high <= low else (image - low) / (high - low)


def _blur(image: np.ndarray) -> np.ndarray:
    sigma = BLUR_SIGMA * min(image.shape[-2:])
    return gaussian_filter(image, (0, sigma, sigma), mode="nearest")


def _jpeg(image: np.ndarray) -> np.ndarray:
    levels = from_unit_range(image, np.uint8)
    picture = Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    decoded = to_unit_range(np.asarray(Image.open(file)))
    return decoded[None] if decoded.ndim == 2 else np.ascontiguousarray(decoded.transpose(2, 0, 1))


def _low_resolution(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[-2:]
    small = resize(image, (max(1, round(height / LOW_RESOLUTION)), max(1, round(width / LOW_RESOLUTION))))
    return resize(small, (height, width))


def _noise(image: np.ndarray) -> np.ndarray:
    # Seeded by the pixels: the same noise wherever the image stands in a data set and whoever reads it.
    seed = int.from_bytes(hashlib.sha256(image[0].tobytes()).digest()[:8], "little")
    noise = np.random.default_rng(seed).standard_normal(image.shape[-2:], dtype=np.float32)
    return image + np.float32(NOISE_SIGMA) * noise  # one noise for all channels: grey stays grey


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverted": _invert,
    "gamma": _gamma,
    "window": _window,
    "blur": _blur,
    "jpeg": _jpeg,
    "low_resolution": _low_resolution,
    "noise": _noise,
}
