"""The picture of features: neighbours stay neighbours, the same input gives the same bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from vitad_med.errors import DataError
from vitad_med.evaluation.feature_picture import ABNORMAL, MAX_TYPES, NORMAL, SYNTHETIC, draw, perplexity_of, tsne


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(90, 40)) + 8 * np.eye(40)[np.arange(90) % 3]).astype(np.float32)


def test_neighbours_stay_neighbours_and_coordinates_repeat(features: np.ndarray) -> None:
    points = tsne(features, seed=3)
    assert points.shape == (90, 2)
    distances = cdist(points, points) + np.diag(np.full(90, np.inf))
    assert np.mean(distances.argmin(axis=1) % 3 == np.arange(90) % 3) > 0.95
    assert np.array_equal(points, tsne(features, seed=3))


def test_few_images_have_a_small_perplexity_and_too_few_are_refused(features: np.ndarray) -> None:
    assert perplexity_of(1000) == 30
    assert tsne(features[:8]).shape == (8, 2)
    with pytest.raises(DataError, match="t-SNE of 5 images"):
        tsne(features[:5])


def test_the_same_points_give_the_same_bytes_with_every_group_in_its_colour() -> None:
    points = np.random.default_rng(0).normal(size=(60, 2))
    groups = [NORMAL, SYNTHETIC, ABNORMAL] * 20
    picture = draw(points, groups, "title", ["a caption " * 40])
    assert picture == draw(points, groups, "title", ["a caption " * 40])
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    for colour in ((0, 158, 115), (230, 159, 0), (0, 114, 178)):
        assert (np.abs(pixels - colour).sum(axis=-1) < 150).sum() > 200, colour
    assert b"matplotlib" not in picture.lower()


def test_types_have_colours_of_their_own() -> None:
    points = np.random.default_rng(0).normal(size=(80, 2))
    types = [f"type {number}" for number in range(MAX_TYPES)]
    groups = [NORMAL, SYNTHETIC, *types] * 10
    assert draw(points, groups, "", []) != draw(points, [*groups[:-1], NORMAL], "", [])
