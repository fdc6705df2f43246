"""Shifts change what they say by a sensible amount, stay in range, and are the same in every run."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.dataset import CaseDataset
from vitad_med.data.image_io import read_image, resize
from vitad_med.data.shifts import GAMMA, LOW_RESOLUTION, SHIFTS, WINDOW_PERCENTILES, shift
from vitad_med.errors import ConfigError

CHANGING = [name for name in SHIFTS if name != "none"]


@pytest.fixture(scope="module")
def radiograph(nih_mini: Path) -> np.ndarray:
    """[1, 224, 224]."""
    return resize(read_image(sorted((nih_mini / "images").iterdir())[0]), 224)


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_range_kind_and_determinism(radiograph: np.ndarray, name: str, channels: int) -> None:
    image = np.repeat(radiograph, channels, axis=0)
    before = image.copy()
    shifted = shift(image, name)
    assert (shifted.shape, shifted.dtype) == (image.shape, np.float32)
    assert shifted.min() >= 0
    assert shifted.max() <= 1
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(shift(image.copy(), name), shifted)
    tensor = shift(torch.from_numpy(image), name)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), shifted)
    # Grey repeated to three channels is the same picture, up to JPEG's colour space.
    assert np.abs(shifted - shift(radiograph, name)).max() <= 1.01 / 255


@pytest.mark.parametrize("name", CHANGING)
def test_a_radiograph_changes_visibly_and_stays_a_radiograph(radiograph: np.ndarray, name: str) -> None:
    shifted = shift(radiograph, name)
    change = np.abs(shifted - radiograph).mean()
    low, high = (0.15, 0.6) if name == "inverted" else (0.005, 0.3)
    assert low < change < high
    correlation = np.corrcoef(shifted.ravel(), radiograph.ravel())[0, 1]
    assert correlation < -0.99 if name == "inverted" else 0.9 < correlation < 0.9999


def test_none_is_the_image_itself(radiograph: np.ndarray) -> None:
    assert shift(radiograph, "none") is radiograph


def test_inverting_twice_gives_the_image_back(radiograph: np.ndarray) -> None:
    np.testing.assert_allclose(shift(shift(radiograph, "inverted"), "inverted"), radiograph, rtol=0, atol=1e-7)


def test_gamma_and_window_by_their_formulas(radiograph: np.ndarray) -> None:
    np.testing.assert_allclose(shift(radiograph, "gamma"), radiograph.astype(float) ** GAMMA, atol=1e-6)
    ordered = np.sort(radiograph, axis=None)
    cut = shift(radiograph, "window")
    for percent, end in zip(WINDOW_PERCENTILES, (0, 1), strict=True):
        edge = ordered[round(percent / 100 * (ordered.size - 1))]
        assert abs(cut[np.abs(radiograph - edge) < 1e-6] - end).max() < 0.02
    assert 0.05 < (cut == 0).mean() < 0.15
    assert 0.05 < (cut == 1).mean() < 0.15


@pytest.mark.parametrize("name", ["blur", "low_resolution"])
def test_detail_goes_and_the_mean_stays_at_any_size(radiograph: np.ndarray, name: str) -> None:
    def roughness(image: np.ndarray) -> float:
        return float(np.abs(np.diff(image[0], axis=1)).mean())

    losses = []
    for size in (224, 512):
        image = resize(radiograph, size)
        shifted = shift(image, name)
        assert abs(shifted.mean() - image.mean()) < 2e-3
        losses.append(np.abs(shifted - image).mean())
    assert roughness(shift(radiograph, name)) < 0.8 * roughness(radiograph)
    # The same picture loses the same, whatever grid it is on.
    assert name != "blur" or losses[1] == pytest.approx(losses[0], rel=0.15)


def test_low_resolution_holds_no_more_than_its_grid() -> None:
    stripes = np.tile(np.array([0, 1], np.float32), 32)[None, None].repeat(64, axis=1)
    for image in (stripes, stripes.transpose(0, 2, 1)):
        assert shift(image, "low_resolution").std() < 0.05
    coarse = np.kron(np.eye(2, dtype=np.float32), np.ones((32, 32), np.float32))[None]
    inside = shift(coarse, "low_resolution")[0, : 32 - 2 * LOW_RESOLUTION, : 32 - 2 * LOW_RESOLUTION]
    np.testing.assert_allclose(inside, 1, atol=1e-5)


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 20, 33), (1, 2, 2)])
def test_constant_images_survive(name: str, value: float, shape: tuple[int, int, int]) -> None:
    shifted = shift(np.full(shape, value, np.float32), name)
    assert shifted.shape == shape
    assert np.isfinite(shifted).all()
    assert shifted.min() >= 0
    assert shifted.max() <= 1
    expected = {"inverted": 1 - value, "gamma": value**GAMMA}.get(name, value)
    if name != "noise":
        # JPEG rounds the mean of a block to 5 levels at its quality.
        np.testing.assert_allclose(shifted, expected, atol=3 / 255)


def test_colour_stays_colour() -> None:
    image = np.random.default_rng(0).random((3, 16, 16), dtype=np.float32)
    for name in CHANGING:
        shifted = shift(image, name)
        assert np.abs(shifted[0] - shifted[1]).max() > 0.05, name


@pytest.mark.parametrize("name", ["inverted", "gamma", "blur", "low_resolution"])
def test_channels_do_not_mix(radiograph: np.ndarray, name: str) -> None:
    image = np.concatenate([radiograph, radiograph[:, ::-1], radiograph**2])
    for channel in range(3):
        alone = shift(image[channel : channel + 1], name)
        np.testing.assert_allclose(shift(image, name)[channel], alone[0], rtol=0, atol=1e-6)


def test_noise_follows_the_pixels_and_has_its_strength(radiograph: np.ndarray) -> None:
    grey = np.full((1, 64, 64), 0.5, np.float32)
    first = shift(grey, "noise") - grey
    assert 0.03 < first.std() < 0.05
    assert abs(first.mean()) < 0.005
    grey[0, 0, 0] = 0.51
    assert np.abs(np.corrcoef((shift(grey, "noise") - grey).ravel(), first.ravel())[0, 1]) < 0.1


def test_an_unknown_name_is_answered_with_the_list(radiograph: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"shift is 'jpg'.*'inverted'.*'jpeg'.*'noise'"):
        shift(radiograph, "jpg")
    with pytest.raises(ConfigError, match="shift is 'jpg'"):
        CaseDataset([], 32, shift="jpg")


def test_a_dataset_shifts_items_and_not_its_cache(
    nih_mini: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cases = read_chestxray14(nih_mini, section="test")[:3]
    with caplog.at_level(logging.INFO, "vitad_med.data.dataset"):
        plain = CaseDataset(cases, 64, tmp_path)
        assert not caplog.records
        shifted = CaseDataset(cases, 64, tmp_path, shift="gamma")
    assert "'gamma' (another display curve" in caplog.text
    assert "null maps" in caplog.text
    np.testing.assert_array_equal(shifted.pixels, plain.pixels)
    assert len(list(tmp_path.iterdir())) == 1
    for index in range(3):
        expected = shift(plain[index]["image"], "gamma")
        torch.testing.assert_close(shifted[index]["image"], expected, rtol=0, atol=0)
        assert not torch.equal(expected, plain[index]["image"])


@pytest.mark.parametrize("name", CHANGING)
def test_16_bit_images_stay_in_range(tmp_path: Path, name: str) -> None:
    levels = np.linspace(0, 65535, 40 * 40).astype(np.uint16).reshape(40, 40)
    path = tmp_path / "fine.png"
    Image.fromarray(levels).save(path)
    item = CaseDataset([Case("a", "a", path, "test", "train", label=0)], 40, shift=name)[0]["image"]
    assert item.dtype == torch.float32
    assert 0 <= float(item.min()) < 0.2
    assert 0.8 < float(item.max()) <= 1
