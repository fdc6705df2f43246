"""The interface of feature extractors: one grid, seeded channels, frozen weights, and a backbone's sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitad_med.errors import ConfigError
from vitad_med.networks.features import FeatureExtractor


class TwoStages(nn.Module):
    """Means of 4 x 4 pixels (3 channels), and twice those of 8 x 8 pixels (3 channels)."""

    widths = (3, 3)
    statistics = ((0.5, 0.25, 0.0), (0.5, 1.0, 2.0))

    def __init__(self) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"backbone": "two stages"}
        self.norm = nn.BatchNorm2d(3)

    def check_image_size(self, image_size: int) -> None:
        if image_size % 8:
            raise ConfigError(f"image_size {image_size} is no multiple of 8")

    def forward(self, images: Tensor) -> list[Tensor]:
        images = self.norm(images)
        return [nn.functional.avg_pool2d(images, 4), 2 * nn.functional.avg_pool2d(images, 8)]


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(2, 1, 16, 16)


def test_normalises_and_stacks_on_the_finest_grid(images: Tensor) -> None:
    features = FeatureExtractor(TwoStages())(images)
    assert features.shape == (2, 6, 4, 4)
    expected = nn.functional.avg_pool2d((images[:, 0] - 0.25) / 1.0, 4)  # second channel's statistics
    torch.testing.assert_close(features[:, 1], expected, rtol=1e-4, atol=1e-5)
    coarse = 2 * nn.functional.avg_pool2d((images[:, 0] - 0.25) / 1.0, 8)
    torch.testing.assert_close(
        features[:, 4], coarse.repeat_interleave(2, 1).repeat_interleave(2, 2), rtol=1e-4, atol=1e-5
    )


def test_bilinear_differs_from_repeating_cells_in_coarse_stages_alone(images: Tensor) -> None:
    nearest, bilinear = FeatureExtractor(TwoStages())(images), FeatureExtractor(TwoStages(), resize="bilinear")(images)
    assert torch.equal(nearest[:, :3], bilinear[:, :3])
    assert not torch.allclose(nearest[:, 3:], bilinear[:, 3:], atol=1e-3)


def test_a_coarser_grid_averages_cells(images: Tensor) -> None:
    features = FeatureExtractor(TwoStages(), grid=2)(images)
    assert features.shape == (2, 6, 2, 2)
    torch.testing.assert_close(2 * features[:, :3], features[:, 3:])


def test_channels_kept_are_seeded_and_belong_to_the_state(images: Tensor) -> None:
    whole = FeatureExtractor(TwoStages())
    some, same, other = (FeatureExtractor(TwoStages(), channels_kept=4, seed=seed) for seed in (1, 1, 2))
    assert some.channels == 4
    assert len(some.kept.unique()) == 4
    assert torch.equal(some(images), whole(images)[:, some.kept])
    assert torch.equal(some.kept, same.kept)
    assert not torch.equal(some.kept, other.kept)
    assert some.digest() == same.digest() != other.digest()
    few = FeatureExtractor(TwoStages(), channels_kept=1)  # leaves one stage without any channel
    assert torch.equal(few(images), whole(images)[:, few.kept])


def test_mean_of_the_image_can_be_removed(images: Tensor) -> None:
    features = FeatureExtractor(TwoStages(), remove_image_mean=True)(images)
    torch.testing.assert_close(features.mean(dim=(2, 3)), torch.zeros(2, 6), atol=1e-6, rtol=0)
    assert float(features.std()) > 0.05


def test_training_mode_and_gradients_do_not_reach_the_backbone(images: Tensor) -> None:
    extractor = FeatureExtractor(TwoStages())
    before = extractor.digest()
    extractor.train()
    extractor(images)
    assert not any(module.training for module in extractor.modules())
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    assert extractor.digest() == before  # a batch norm in training mode would have moved its statistics


def test_grey_equals_its_colour_copy_and_grid_is_told(images: Tensor) -> None:
    extractor = FeatureExtractor(TwoStages())
    assert torch.equal(extractor(images), extractor(images.expand(-1, 3, -1, -1)))
    assert extractor.grid_of(24) == (6, 6)


def test_settings_tell_what_the_features_depend_on() -> None:
    settings = FeatureExtractor(TwoStages(), channels_kept=2, seed=5, grid=3).settings
    assert settings == {
        "backbone": "two stages",
        "grid": 3,
        "resize": "nearest",
        "channels_kept": 2,
        "channel_seed": 5,
        "remove_image_mean": False,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resize": "cubic"}, "resize 'cubic' is unknown"),
        ({"grid": 0}, "grid is 0"),
        ({"channels_kept": 7}, "channels_kept is 7, but the features have 6 channels"),
        ({"channels_kept": 0}, "channels_kept is 0"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FeatureExtractor(TwoStages(), **arguments)


def test_bad_images_are_refused() -> None:
    extractor = FeatureExtractor(TwoStages())
    with pytest.raises(ConfigError, match="no multiple of 8"):
        extractor(torch.rand(1, 1, 12, 12))
    with pytest.raises(ConfigError, match="2 channels"):
        extractor(torch.rand(1, 2, 16, 16))
