"""Location laws: how concentrated they are, and that centres follow them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from vitad_med.errors import ConfigError, DataError
from vitad_med.synthesis import LocationLaw
from vitad_med.synthesis.location import bilinear_weights


def attention_like(side: int = 14) -> np.ndarray:
    """A map as DINO gives for a chest: a smooth object covering the middle, sums to 1, values about 1/N."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    grid = np.exp(-(y**2 + x**2) / (2 * (0.28 * side) ** 2))
    return grid / grid.sum()


def test_literal_softmax_is_nearly_uniform_and_proportional_is_not() -> None:
    grid = attention_like()
    assert LocationLaw(grid, 224, 224, "softmax", 1.0).entropy >= 0.9993
    assert 0.93 < LocationLaw(grid, 224, 224, "proportional").entropy < 0.98
    assert LocationLaw(grid, 224, 224, "uniform").entropy == pytest.approx(1.0)
    # A temperature near the spread of the map makes the softmax guide again.
    assert LocationLaw(grid, 224, 224, "softmax", grid.std()).entropy < 0.98


def test_entropy_of_one_token_is_zero() -> None:
    grid = np.zeros((4, 4))
    grid[1, 2] = 3.0
    assert LocationLaw(grid, 64, 64).entropy == pytest.approx(0.0)


@pytest.mark.parametrize(("inputs", "outputs"), [(14, 224), (7, 50), (1, 9), (5, 5), (37, 20)])
def test_resize_equals_torch(inputs: int, outputs: int) -> None:
    row = np.random.default_rng(0).random(inputs)
    expected = torch.nn.functional.interpolate(torch.from_numpy(row)[None, None], outputs, mode="linear")[0, 0].numpy()
    np.testing.assert_allclose(bilinear_weights(inputs, outputs) @ row, expected, atol=1e-12)


def test_image_law_is_the_normalised_bilinear_resize() -> None:
    grid = attention_like()
    resized = torch.nn.functional.interpolate(torch.from_numpy(grid)[None, None], (90, 120), mode="bilinear")[0, 0]
    law = LocationLaw(grid, 90, 120).image_law()
    assert law.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(law, (resized / resized.sum()).numpy(), atol=1e-12)


def test_drawn_pixels_follow_the_image_law() -> None:
    grid = np.random.default_rng(1).random((3, 4)) ** 3
    law = LocationLaw(grid, 12, 16)
    generator = np.random.default_rng(2)
    counts = np.zeros((12, 16))
    draws = 8000
    for u, v in generator.random((draws, 2)):
        counts[law.pixel(u, v)] += 1
    assert stats.chisquare(counts.ravel(), draws * law.image_law().ravel()).pvalue > 1e-3
    # The same counts do not fit the uniform law: the test can tell laws apart.
    assert stats.chisquare(counts.ravel()).pvalue < 1e-9


def test_extreme_uniforms_stay_in_the_support() -> None:
    grid = np.zeros((4, 4))
    grid[3, 0] = 1.0
    law = LocationLaw(grid, 16, 16)
    support = law.image_law() > 0
    below_one = np.nextafter(1.0, 0.0)
    for pair in [(0.0, 0.0), (below_one, below_one), (0.0, below_one), (below_one, 0.0)]:
        assert support[law.pixel(*pair)]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (np.zeros((3, 3)), "zero everywhere"),
        (np.array([[1.0, -0.1]]), "negative"),
        (np.array([[1.0, np.nan]]), "NaN"),
        (np.ones(5), "two axes"),
        (None, "needs a saliency map"),
    ],
)
def test_unusable_saliency_is_refused(grid: np.ndarray | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        LocationLaw(grid, 32, 32)


def test_unknown_law_and_bad_temperature_are_refused() -> None:
    with pytest.raises(ConfigError, match="location: 'attention'"):
        LocationLaw(np.ones((2, 2)), 32, 32, "attention")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="temperature"):
        LocationLaw(np.ones((2, 2)), 32, 32, "softmax", 0.0)
