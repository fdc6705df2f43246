"""The map and score of any autoencoder, computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from vitad_med.errors import ConfigError
from vitad_med.networks.reconstruction import ReconstructionNetwork


class Known(ReconstructionNetwork):
    """Reconstructs every image as given."""

    def __init__(self, reconstruction: Tensor, **options: object) -> None:
        super().__init__(channels=reconstruction.shape[1], **options)  # type: ignore[arg-type]
        self.reconstruction = reconstruction

    def reconstruct(self, images: Tensor) -> Tensor:
        return self.reconstruction.expand(len(images), -1, -1, -1)


def test_the_error_of_a_pixel_is_taken_over_its_channels() -> None:
    images, reconstruction = torch.rand(2, 3, 5, 4), torch.rand(1, 3, 5, 4)
    l2 = Known(reconstruction, smoothing=0)(images)
    squared = Known(reconstruction, error="mean_squared", smoothing=0)(images)
    for b, row, column in ((0, 0, 0), (1, 4, 3), (1, 2, 1)):
        differences = [float(images[b, c, row, column] - reconstruction[0, c, row, column]) for c in range(3)]
        norm = math.sqrt(sum(d * d for d in differences))
        assert float(l2[b, 0, row, column]) == pytest.approx(norm / math.sqrt(3), abs=1e-6)
        assert float(squared[b, 0, row, column]) == pytest.approx(norm**2 / 3, abs=1e-6)


def test_the_score_is_the_maximum_of_the_smoothed_map() -> None:
    images = torch.zeros(2, 1, 48, 48)
    images[0, 0, 20, 30] = 1.0
    images[1, 0, 0, 0] = 0.5
    network = Known(torch.zeros(1, 1, 48, 48), smoothing=2.0)
    score, anomaly_map = network.predict(images)
    expected = np.stack([gaussian_filter(image.numpy(), 2.0, mode="nearest") for image in images[:, 0]])
    # MONAI's kernel integrates the Gaussian over each pixel, scipy's samples it at the centre.
    torch.testing.assert_close(anomaly_map[:, 0], torch.from_numpy(expected), atol=1.5e-3, rtol=0)
    assert torch.equal(score, anomaly_map.amax(dim=(1, 2, 3)))
    assert int(anomaly_map[0].argmax()) == 20 * 48 + 30
    assert score[0] < 0.05
    assert torch.equal(network(images), anomaly_map)


def test_smoothing_leaves_a_constant_error_as_it_is_up_to_the_edge() -> None:
    anomaly_map = Known(torch.full((1, 1, 40, 40), 0.25), smoothing=4.0)(torch.ones(1, 1, 40, 40))
    torch.testing.assert_close(anomaly_map, torch.full_like(anomaly_map, 0.75))


def test_errors_beyond_the_range_count_as_the_whole_range() -> None:
    for error in ("l2", "mean_squared"):
        output = Known(torch.full((1, 1, 8, 8), 7.0), error=error).predict(torch.zeros(1, 1, 8, 8))
        assert output.score.tolist() == pytest.approx([1.0])
        assert float(output.map.max()) <= 1
    # Before smoothing too: one wild pixel must not count as many.
    spike = torch.zeros(1, 1, 33, 33)
    spike[0, 0, 16, 16] = 7.0
    once = Known(spike.clamp(max=1), smoothing=2.0)(torch.zeros(1, 1, 33, 33))
    assert torch.equal(Known(spike, smoothing=2.0)(torch.zeros(1, 1, 33, 33)), once)


def test_grey_images_of_a_colour_network_are_repeated_and_the_reverse_is_refused() -> None:
    colour = Known(torch.rand(1, 3, 4, 4), smoothing=0)
    grey = torch.rand(1, 1, 4, 4)
    assert torch.equal(colour(grey), colour(grey.expand(-1, 3, -1, -1)))
    with pytest.raises(ConfigError, match="images have 3 channels and the network 1"):
        Known(torch.rand(1, 1, 4, 4))(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"error": "l1"}, "error 'l1' is unknown"),
        ({"smoothing": -1.0}, "smoothing -1.0 must"),
        ({"smoothing": float("nan")}, "smoothing nan must"),
    ],
)
def test_mistakes_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Known(torch.rand(1, 1, 4, 4), **options)
    with pytest.raises(ConfigError, match="channels 2 must be 1"):
        ReconstructionNetwork(channels=2)
