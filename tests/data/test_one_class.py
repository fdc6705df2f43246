"""MNIST and CIFAR-10 as one-class problems: small files in the published formats, and the real ones where they are."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vitad_med.data.case import Case
from vitad_med.data.image_io import read_image
from vitad_med.data.one_class import CIFAR10_CLASSES, read_cifar10, read_mnist
from vitad_med.data.registry import read_cases
from vitad_med.errors import ConfigError, DataError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
LABELS = {"train": np.arange(60) % 10, "test": np.arange(25) % 10}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def pixels(split: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(len(split)).integers(0, 256, (len(LABELS[split]), *shape), dtype=np.uint8)


@pytest.fixture(params=["plain", "gzip"])
def mnist(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for split, prefix in (("train", "train"), ("test", "t10k")):
        contents = {
            "images-idx3-ubyte": idx(pixels(split, (28, 28))),
            "labels-idx1-ubyte": idx(LABELS[split].astype(np.uint8)),
        }
        for name, content in contents.items():
            if request.param == "gzip":
                (tmp_path / f"{prefix}-{name}.gz").write_bytes(gzip.compress(content))
            else:
                (tmp_path / f"{prefix}-{name}").write_bytes(content)
    return tmp_path


def write_batches(folder: Path) -> None:
    """The Python version: five batches of training images and one of test images, pickled as Python 2 did."""
    folder.mkdir()
    rows, labels = pixels("train", (3072,)), LABELS["train"]
    for number in range(5):
        part = slice(12 * number, 12 * number + 12)
        batch = {b"data": rows[part], b"labels": labels[part].tolist(), b"batch_label": b"training batch"}
        (folder / f"data_batch_{number + 1}").write_bytes(pickle.dumps(batch, protocol=2))
    batch = {b"data": pixels("test", (3072,)), b"labels": LABELS["test"].tolist()}
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))


@pytest.fixture(params=["batches", "folder of batches", "npz"])
def cifar10(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "npz":
        for split in ("train", "test"):
            images = pixels(split, (3072,)).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            np.savez(tmp_path / f"{split}.npz", images=images, labels=LABELS[split], classes=CIFAR10_CLASSES)
        return tmp_path
    write_batches(tmp_path / "cifar-10-batches-py")
    return tmp_path if request.param == "folder of batches" else tmp_path / "cifar-10-batches-py"


def test_the_other_digits_are_anomalies(mnist: Path) -> None:
    test = read_mnist(mnist, section="test", category=3)
    assert [case.label for case in test] == (LABELS["test"] != 3).astype(int).tolist()
    assert [case.findings for case in test[:4]] == [("0",), ("1",), ("2",), ()]
    assert {(case.group, case.split, case.source) for case in test} == {("3", "test", "mnist")}
    assert not any(case.localized for case in test)


def test_pixels_are_those_of_the_file(mnist: Path) -> None:
    case = read_mnist(mnist, section="test", category="3")[13]
    assert case.case_id == "test/00013"
    np.testing.assert_array_equal(read_image(case.image_path), pixels("test", (28, 28))[13][None] / np.float32(255))


def test_training_images_are_those_of_the_class_and_a_part_is_held_out(mnist: Path) -> None:
    train, held = (read_mnist(mnist, section=name, category=3, val_fraction=0.5) for name in ("train", "val"))
    numbers = sorted(int(case.case_id.removeprefix("train/")) for case in train + held)
    assert numbers == np.flatnonzero(LABELS["train"] == 3).tolist()
    assert (len(train), len(held)) == (3, 3)
    assert {case.split for case in held} == {"val"}
    other = read_mnist(mnist, section="val", category=3, val_fraction=0.5, split_seed=1)
    assert {case.case_id for case in other} != {case.case_id for case in held}
    everything = read_mnist(mnist, section="all", category=3, val_fraction=0.5)
    assert Counter(case.split for case in everything) == {"train": 3, "val": 3, "test": 25}


def test_all_forms_of_cifar10_are_read_alike(cifar10: Path) -> None:
    train = read_cifar10(cifar10, section="train", category="cat")
    assert [case.case_id for case in train] == [f"train/{index:05d}" for index in np.flatnonzero(LABELS["train"] == 3)]
    test = read_cifar10(cifar10, section="test", category="cat")
    assert test[0].findings == ("airplane",)
    for case, source, index in ((train[2], "train", 23), (test[7], "test", 7)):
        expected = pixels(source, (3072,))[index].reshape(3, 32, 32) / np.float32(255)
        np.testing.assert_array_equal(read_image(case.image_path), expected)


@pytest.mark.parametrize("category", [None, "10", 10, "dog", -1, True, 2.0])
def test_an_unknown_class_is_refused(mnist: Path, category: object) -> None:
    with pytest.raises(ConfigError, match="give the class that is normal, one of 0, 1, 2"):
        read_cases("mnist", mnist, "test", category=category)


def test_validation_needs_a_fraction(mnist: Path) -> None:
    with pytest.raises(ConfigError, match="'val' needs a val_fraction above 0"):
        read_mnist(mnist, section="val", category=1)
    with pytest.raises(ConfigError, match="section is 'valid'; use one of train"):
        read_cases("mnist", mnist, "valid", category=1)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(DataError, match=r"has no file t10k-images-idx3-ubyte or t10k-images-idx3-ubyte\.gz"):
        read_mnist(tmp_path, section="test", category=1)
    with pytest.raises(DataError, match="test_batch does not exist; CIFAR-10 is data_batch_1 to 5"):
        read_cifar10(tmp_path, section="test", category="cat")


def test_labels_of_another_file_are_refused(mnist: Path) -> None:
    name = next(mnist.glob("t10k-labels*")).name
    (mnist / name).write_bytes(idx(np.zeros(7, np.uint8)))
    with pytest.raises(DataError, match=r"holds 25 images and .*t10k-labels.* 7 labels"):
        read_mnist(mnist, section="test", category=1)
    (mnist / name).write_bytes(idx(np.full(25, 11, np.uint8)))
    with pytest.raises(DataError, match="has label 11; mnist has 0 to 9"):
        read_mnist(mnist, section="test", category=1)


def test_a_negative_label_is_named(tmp_path: Path) -> None:
    labels = np.array([0, 3, -1, 2])
    for name in ("train.npz", "test.npz"):
        np.savez(tmp_path / name, images=np.zeros((4, 32, 32, 3), np.uint8), labels=labels)
    with pytest.raises(DataError, match="has label -1; cifar10 has 0 to 9"):
        read_cifar10(tmp_path, section="test", category="cat")


def counts(cases: list[Case]) -> tuple[int, int]:
    return len(cases), sum(case.label for case in cases)


@pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="MNIST is not there")
def test_the_counts_of_mnist() -> None:
    # Digits of the training and test list, LeCun et al. 1998.
    folder, zeros, ones = REAL / "mnist", 5923, 6742
    for digit, total, tested in ((0, zeros, 980), (1, ones, 1135)):
        train, held = (read_mnist(folder, section=s, category=digit, val_fraction=0.2) for s in ("train", "val"))
        assert counts(train) == (total - round(0.2 * total), 0)
        assert counts(held) == (round(0.2 * total), 0)
        assert counts(read_mnist(folder, section="test", category=digit)) == (10_000, 10_000 - tested)


@pytest.mark.skipif(not (REAL / "cifar10_subset").is_dir(), reason="the CIFAR-10 subset is not there")
def test_the_cifar10_subset() -> None:
    folder = REAL / "cifar10_subset"
    assert counts(read_cifar10(folder, section="train", category="ship", val_fraction=0.1)) == (270, 0)
    assert counts(read_cifar10(folder, section="test", category="ship")) == (1000, 900)
