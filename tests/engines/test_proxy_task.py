"""What one step of the proxy task shows: pairs of crops that differ in nothing but the anomaly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.data.cache import resized_array
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.engines.loading import to_unit_range
from vitad_med.engines.proxy_task import ProxyTask, Scorer
from vitad_med.errors import ConfigError
from vitad_med.synthesis import AttnSynth

SIZE = 96


@pytest.fixture(scope="module")
def images(nih_mini: Path) -> torch.Tensor:
    stored = resized_array(read_chestxray14(nih_mini, section="train")[:6], SIZE)
    return to_unit_range(torch.from_numpy(stored), torch.device("cpu"))


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(image_size=SIZE)


def test_focused_local_crops_show_the_anomaly_and_pairs_share_their_place(images: torch.Tensor, scorer: Scorer) -> None:
    crops = MultiCrop(1, SIZE, (0.5, 1.0), 3, 48, (0.1, 0.3))
    task = ProxyTask(scorer, AttnSynth(), crops, Augment(0, 0, 0), crop_label="mask", crop_focus=1.0)
    _, local = task(images, step=2)
    normal, abnormal = local.images.reshape(3, 2, 6, 1, 48, 48).unbind(dim=1)
    masks = local.masks.reshape(3, 2, 6, 1, 48, 48)[:, 1]
    assert float(masks.flatten(2).amax(dim=2).min()) == 1
    # One pixel around the mask mixes with its neighbours when a crop is resampled.
    away = torch.nn.functional.max_pool2d(masks.flatten(0, 1), 5, 1, 2).reshape(masks.shape) == 0
    difference = (abnormal - normal).abs()
    assert float(difference[away].max()) < 1e-6
    assert float(difference[masks == 1].mean()) > 0.01


def test_without_focus_crops_fall_anywhere(images: torch.Tensor, scorer: Scorer) -> None:
    crops = MultiCrop(1, SIZE, (0.5, 1.0), 8, 32, (0.05, 0.1))
    task = ProxyTask(scorer, AttnSynth(), crops, Augment(0, 0, 0), crop_label="mask")
    _, local = task(images, step=0)
    shown = local.labels.reshape(8, 2, 6)[:, 1].float().mean()
    assert 0 < float(shown) < 0.8


def test_a_focus_that_is_no_fraction_is_refused(scorer: Scorer) -> None:
    with pytest.raises(ConfigError, match="crop_focus"):
        ProxyTask(scorer, AttnSynth(), MultiCrop(), Augment(), crop_focus=1.5)
