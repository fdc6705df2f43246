"""Golden images and what torch says of them: one file, so that an export can be checked where there is no torch network
and no data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from vitad_med.bundles import example_dataset
from vitad_med.checkpoint import safetensors_bytes
from vitad_med.data.cache import resized_array
from vitad_med.data.intensity import to_unit_range
from vitad_med.data.registry import read_cases
from vitad_med.errors import DataError, WeightsError

REAL = 4
_FULL = 65535


@dataclass(frozen=True)
class Golden:
    """Images and torch's answer.

    Attributes:
        images: 16-bit grey or colour, uint16 [N, C, S, S].
        map: float32 [N, 1, h, w].
        score: float32 [N].
    """

    images: NDArray[np.uint16]
    map: NDArray[np.float32]
    score: NDArray[np.float32]

    def inputs(self) -> NDArray[np.float32]:
        """The images in 0..1, [N, C, S, S]."""
        return to_unit_range(self.images)

    def content(self) -> bytes:
        """Bytes of the file; the same for the same arrays."""
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in _NAMES}
        return safetensors_bytes(tensors, {"schema": "vitad_med/golden/1"})

    @classmethod
    def of_content(cls, content: bytes, path: Path) -> Golden:
        """From what :meth:`content` gave.

        Raises:
            WeightsError: something else; names ``path``.
        """
        try:
            tensors = load(content)
            return cls(*(tensors[name].numpy() for name in _NAMES))
        except Exception as error:  # safetensors raises its own, and KeyError
            raise WeightsError(f"'{path}' holds no golden images: export again.") from error


_NAMES = ("images", "map", "score")


def golden_images(bundle: Path, channels: int, side: int) -> tuple[NDArray[np.uint16], list[str]]:
    """Made images, and a few radiographs where the repository's examples lie beside the bundle.

    None of them has one value everywhere: where there is nothing to see, networks that normalise contrast answer with
    amplified rounding.

    Returns:
        uint16 [N, C, S, S], and what each is.
    """
    pictures = _made(side)
    names = list(pictures)
    made = _stored(np.stack([_with_channels(picture, channels) for picture in pictures.values()]))
    try:
        cases = read_cases("nih_chestxray14", example_dataset(bundle), "test")[:REAL]
    except DataError:
        return made, names
    real = _stored(to_unit_range(resized_array(cases, side, None, channels)))
    return np.concatenate([made, real]), [*names, *("radiograph" for _ in cases)]


def _made(side: int) -> dict[str, NDArray[np.float64]]:
    """By name, [S, S] in 0..1; from formulas, with no random draw."""
    axis = np.linspace(0, 1, side)
    x, y = axis[None], axis[:, None]
    chest = 0.75 - 0.5 * sum(np.exp(-(((x - at) / 0.15) ** 2) - ((y - 0.5) / 0.3) ** 2) for at in (0.3, 0.7))
    texture = 0.08 * np.sin(40 * x + 25 * y**2) * np.cos(31 * y - 18 * x**2)
    spot = np.exp(-(((x - 0.65) / 0.06) ** 2) - ((y - 0.4) / 0.06) ** 2)
    collimated = np.where((abs(x - 0.5) < 0.35) & (abs(y - 0.5) < 0.45), chest + texture, 0.0)
    return {
        "two lungs": (chest + texture).clip(0, 1),
        "two lungs and a spot": (chest + texture + 0.4 * spot).clip(0, 1),
        "black borders": collimated.clip(0, 1),
        "waves": (0.5 + 0.5 * np.sin(60 * x * y + 7 * x)) * np.ones_like(y),
    }


def _stored(images: NDArray[Any]) -> NDArray[np.uint16]:
    return np.round(images * _FULL).astype(np.uint16)


def _with_channels(picture: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """[C, S, S]; the channels of a colour image differ."""
    return np.stack([picture ** (1 + 0.25 * channel) for channel in range(channels)])
