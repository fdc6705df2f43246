"""Eq. 1 of AnoViT (2022), by hand."""

from __future__ import annotations

import pytest
import torch

from vitad_med.errors import ConfigError
from vitad_med.objectives.reconstruction import ReconstructionLoss


def test_it_is_the_squared_norm_averaged_over_images() -> None:
    images, reconstructions = torch.rand(3, 2, 4, 5), torch.rand(3, 2, 4, 5)
    norms = [
        sum((a - b) ** 2 for a, b in zip(image.flatten().tolist(), made.flatten().tolist(), strict=True))
        for image, made in zip(images, reconstructions, strict=True)
    ]
    assert float(ReconstructionLoss("sum")(reconstructions, images)) == pytest.approx(sum(norms) / 3, rel=1e-5)
    assert float(ReconstructionLoss()(reconstructions, images)) == pytest.approx(sum(norms) / 3 / 40, rel=1e-5)


def test_sixteen_bits_are_summed_in_float32() -> None:
    big = torch.full((1, 1, 400, 400), 1.0, dtype=torch.float16)
    assert float(ReconstructionLoss("sum")(big, torch.zeros_like(big))) == 160_000  # float16 ends at 65,504


def test_another_reduction_is_refused() -> None:
    with pytest.raises(ConfigError, match="reduction 'max' is unknown"):
        ReconstructionLoss("max")  # type: ignore[arg-type]
