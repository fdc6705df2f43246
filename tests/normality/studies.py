"""Small extractors, cases and images for tests of models of normality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vitad_med.data.case import Case
from vitad_med.errors import ConfigError
from vitad_med.networks.features import FeatureExtractor

SIZE = 32


class Patches(nn.Module):
    """Random projections of 8 x 8 patches: fast, and different for every weight."""

    statistics = ((0.5,) * 3, (0.25,) * 3)

    def __init__(self, width: int = 6, seed: int = 0) -> None:
        super().__init__()
        self.widths = (width,)
        self.settings: dict[str, Any] = {"backbone": "patches"}
        self.convolution = nn.Conv2d(3, width, 8, 8)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.convolution.weight.copy_(torch.randn(self.convolution.weight.shape, generator=draw) / 8)
            self.convolution.bias.zero_()  # type: ignore[union-attr]

    def check_image_size(self, image_size: int) -> None:
        if image_size % 8:
            raise ConfigError(f"image_size {image_size} is no multiple of 8")

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.convolution(images)]


def extractor(width: int = 6, seed: int = 0, **arguments: Any) -> FeatureExtractor:
    return FeatureExtractor(Patches(width, seed), **arguments)


def write_cases(folder: Path, count: int, source: str = "image_folder", size: int = SIZE) -> list[Case]:
    """Pictures of faint noise, two a patient."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(5)
    cases = []
    for number in range(count):
        path = folder / f"{number:03d}.png"
        Image.fromarray(draw.integers(96, 160, (size, size), dtype=np.uint8)).save(path)
        cases.append(Case(path.stem, f"p{number // 2:03d}", path, source, "train", 0))
    return cases
