"""The resized array, in memory and memory-mapped, and the dataset over it."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.dataset import CaseDataset
from vitad_med.data.image_io import read_image, resize
from vitad_med.errors import ConfigError, DataError, StorageError


def cases_of(folder: Path) -> list[Case]:
    return [
        Case(file.stem, file.stem, file, "test", "train", label=index % 2)
        for index, file in enumerate(sorted(folder.glob("*.png")))
    ]


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Seven images of different sizes, the fifth in colour."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(7):
        shape = (40 + index, 50, 3) if index == 4 else (40 + index, 50)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{index}.png")
    return cases_of(folder)


def test_memory_and_file_agree_with_direct_reading(cases: list[Case], tmp_path: Path) -> None:
    in_memory = resized_array(cases, 24)
    mapped = resized_array(cases, 24, tmp_path / "cache")
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    assert (in_memory.shape, in_memory.dtype) == ((7, 1, 24, 24), np.uint8)
    np.testing.assert_array_equal(mapped, in_memory)
    for index in (0, 6):
        expected = resize(read_image(cases[index].image_path), 24)
        assert np.abs(in_memory[index] / 255 - expected).max() <= 0.5 / 255 + 1e-6
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".npy"]


def test_channels(cases: list[Case]) -> None:
    one, three = resized_array(cases, 16), resized_array(cases, 16, channels=3)
    assert three.shape == (7, 3, 16, 16)
    np.testing.assert_array_equal(three[0, 2], one[0, 0])
    luma = np.tensordot([0.299, 0.587, 0.114], three[4].astype(float), axes=1)
    assert np.abs(luma - one[4, 0]).max() <= 1.5
    with pytest.raises(ConfigError, match="channels"):
        resized_array(cases, 16, channels=2)


def test_file_is_reused_until_an_image_changes(cases: list[Case], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = resized_array(cases, 16, cache)
    written = next(cache.iterdir()).stat().st_mtime_ns
    time.sleep(0.01)
    resized_array(cases, 16, cache)
    assert next(cache.iterdir()).stat().st_mtime_ns == written
    resized_array(cases, 8, cache)
    resized_array(cases[::-1], 16, cache)
    assert len(list(cache.iterdir())) == 3
    Image.fromarray(np.tile(np.arange(50, dtype=np.uint8), (40, 1))).save(cases[0].image_path)
    after = resized_array(cases, 16, cache)
    assert (after[0] != before[0]).any()
    np.testing.assert_array_equal(after[1:], before[1:])


def test_one_16_bit_file_makes_the_array_16_bit(cases: list[Case], tmp_path: Path) -> None:
    fine = (np.arange(40 * 50, dtype=np.uint16) * 7).reshape(40, 50)
    Image.fromarray(fine).save(cases[3].image_path)
    for array in (resized_array(cases, (32)), resized_array(cases, 32, tmp_path / "cache")):
        assert array.dtype == np.uint16
        assert np.abs(array[3] / 65535 - resize(read_image(cases[3].image_path), 32)).max() < 1e-5
        assert np.abs(array[0] / 65535 - resize(read_image(cases[0].image_path), 32)).max() < 1e-5


@pytest.mark.parametrize("value", [0, 90])
def test_constant_images_are_refused(cases: list[Case], tmp_path: Path, value: int) -> None:
    Image.fromarray(np.full((40, 50), value, np.uint8)).save(cases[2].image_path)
    with pytest.raises(DataError, match=r"2\.png is empty"):
        resized_array(cases, 16, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_and_missing_images_leave_nothing(cases: list[Case], tmp_path: Path) -> None:
    cases[5].image_path.write_bytes(cases[5].image_path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"5\.png"):
        resized_array(cases, 16, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    cases[5].image_path.unlink()
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(DataError, match=r"5\.png"):
            resized_array(cases, 16, cache)
    with pytest.raises(DataError, match="empty"):
        resized_array([], 16)


def test_full_disk_is_one_sentence(cases: list[Case], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores SIGXFSZ, so a write beyond the limit fails like one on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError, match="free space"):
            resized_array(cases, 64, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(cache.iterdir()) == []


def test_cache_folder_that_is_a_file(cases: list[Case], tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(StorageError, match="taken"):
        resized_array(cases, 16, tmp_path / "taken")


def test_dataset_items(cases: list[Case], tmp_path: Path) -> None:
    for cache in (None, tmp_path / "cache"):
        dataset = CaseDataset(cases, 24, cache, channels=3)
        assert len(dataset) == 7
        item = dataset[5]
        assert (item["label"], item["index"]) == (1, 5)
        assert (item["image"].shape, item["image"].dtype) == ((3, 24, 24), torch.float32)
        expected = resize(read_image(cases[5].image_path), 24)
        assert np.abs(item["image"].numpy() - expected).max() <= 0.5 / 255 + 1e-6


def test_dataset_in_a_loader_with_workers(nih_mini: Path, tmp_path: Path) -> None:
    cases = read_chestxray14(nih_mini, section="test")
    dataset = CaseDataset(cases, 32, tmp_path)
    batches = list(DataLoader(dataset, batch_size=20, num_workers=1))
    assert [len(batch["index"]) for batch in batches] == [20, 20, 8]
    images = torch.cat([batch["image"] for batch in batches])
    np.testing.assert_array_equal(images.numpy(), dataset.pixels / np.float32(255))
    assert torch.cat([batch["label"] for batch in batches]).tolist() == [case.label for case in dataset.cases]
