"""Pixel scores: the map, or the map times the image score, applied on reading."""

import numpy as np
import pytest

from vitad_med.errors import ConfigError, DataError
from vitad_med.metrics.pixel_score import PixelScores
from vitad_med.metrics.pixel_threshold import pixel_thresholds

STACK = np.random.default_rng(0).random((6, 5, 5)).astype(np.float32)
SCORES = np.array([0.0, 0.5, 1.0, 2.0, 0.25, 3.0])


def test_rules_order_and_choice_of_images() -> None:
    np.testing.assert_array_equal(np.stack(list(PixelScores(STACK.__getitem__, [3, 0]))), STACK[[3, 0]])
    flags = SCORES > 0.4
    product = PixelScores(STACK.__getitem__, flags, SCORES, "map_times_image_score")
    assert len(product) == 4
    assert product[0].dtype == np.float32
    np.testing.assert_allclose(np.stack(list(product)), (STACK * SCORES[:, None, None])[flags], rtol=1e-6)
    np.testing.assert_array_equal(product[1:3][0], product[1])
    np.testing.assert_array_equal(product[-1], product[3])
    with pytest.raises(IndexError):
        product[4]
    # Scores are ignored, not needed, by the plain rule.
    np.testing.assert_array_equal(PixelScores(STACK.__getitem__, [1], -SCORES)[0], STACK[1])


def test_it_can_be_read_twice_by_the_thresholds() -> None:
    product = PixelScores(STACK.__getitem__, np.arange(6), SCORES, "map_times_image_score")
    stacked = STACK * SCORES[:, None, None].astype(np.float32)
    assert pixel_thresholds(product) == pixel_thresholds(stacked)


def test_wrong_input() -> None:
    rule = "map_times_image_score"
    with pytest.raises(ConfigError, match="choose one of map, map_times_image_score"):
        PixelScores(STACK.__getitem__, [0], SCORES, "product")
    with pytest.raises(DataError, match="give scores"):
        PixelScores(STACK.__getitem__, [0], rule=rule)
    with pytest.raises(DataError, match="1 of 6 image scores are negative"):
        PixelScores(STACK.__getitem__, [0], SCORES - 0.1, rule)
    with pytest.raises(DataError, match="1 NaN"):
        PixelScores(STACK.__getitem__, [0], np.where(SCORES == 1, np.nan, SCORES), rule)
    with pytest.raises(DataError, match="reach 6 but there are 6 scores"):
        PixelScores(STACK.__getitem__, [6], SCORES, rule)
    with pytest.raises(DataError, match="map of image 2: values down to"):
        PixelScores((STACK - 0.5).__getitem__, [2], SCORES, rule)[0]
    with pytest.raises(DataError, match=r"map of image 5: 25 of 25 values are not finite \(25 NaN"):
        PixelScores((STACK * np.nan).__getitem__, [5], SCORES, rule)[0]
    with pytest.raises(DataError, match="times its image score: 25 of 25"):
        PixelScores(np.full_like(STACK, 3e38).__getitem__, [5], SCORES, rule)[0]
    with pytest.raises(DataError, match=r"give one map \[H, W\]"):
        PixelScores(lambda image: STACK, [0])[0]
