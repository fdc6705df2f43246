"""Readers of MNIST and CIFAR-10 as one-class problems: one class is normal, all others are anomalies.

The protocol of AnoViT (2022) and of most one-class papers: the training images of the normal class are divided into
training and validation, all 10,000 test images are the test set, and the mean over the ten classes is reported. Other
classes' training images are not used.

Expected: MNIST as the four IDX files under their published names, gzip or not; CIFAR-10 as the Python version's
batches, or as ``train.npz`` and ``test.npz`` (arrays ``images`` and ``labels``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vitad_med.data.case import Case, Split
from vitad_med.data.folders import dataset_folder
from vitad_med.data.packed import packed_path, read_pack
from vitad_med.data.splits import hold_out_patients
from vitad_med.errors import ConfigError, DataError

MNIST = "mnist"
CIFAR10 = "cifar10"
Section = Literal["train", "val", "test", "all"]
SECTIONS = ("train", "val", "test", "all")

MNIST_CLASSES = tuple("0123456789")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class _Source:
    """Where a data set's images lie.

    Attributes:
        name: of the reader.
        classes: names of labels 0 to 9.
        files: split -> (image file, its labels) in the order of the images.
    """

    name: str
    classes: tuple[str, ...]
    files: dict[Split, list[tuple[Path, NDArray[np.int64]]]]


def read_mnist(
    dataset_dir: str | Path,
    *,
    section: Section = "all",
    category: str | int | None = None,
    val_fraction: float = 0.0,
    split_seed: int = 0,
) -> list[Case]:
    """Read the records of one section of MNIST (LeCun et al. 1998).

    Args:
        dataset_dir: the folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the two ``t10k`` files,
            each also as ``.gz``.
        section: ``train``: training images of the normal digit less the held-out ones; ``val``: those; ``test``: all
            test images, label 1 for the other digits; ``all``: the three together.
        category: the normal digit, 0 to 9.
        val_fraction: part of the normal training images that is held out; .2 in the paper.
        split_seed: another seed holds out others.

    Returns:
        Cases sorted by case_id, e.g. ``test/00042``; `group` is the normal class, `findings` the class of an anomaly,
        ``image_path`` is ``FILE/NUMBER`` (:mod:`vitad_med.data.packed`).

    Raises:
        DataError: a file is missing or damaged.
        ConfigError: an unknown section or class.
    """
    root = dataset_folder(dataset_dir)
    normal = _normal_class(category, MNIST_CLASSES)
    _check_section(section, val_fraction)
    files: dict[Split, list[tuple[Path, NDArray[np.int64]]]] = {}
    for split, prefix in _splits(section, "train", "t10k").items():
        images, labels = _idx_file(root, f"{prefix}-images-idx3-ubyte"), _idx_file(root, f"{prefix}-labels-idx1-ubyte")
        pixels, numbers = read_pack(images).images, read_pack(labels).labels
        if pixels is None or numbers is None:
            raise DataError(f"{images} and {labels.name} are not an IDX file of images and one of labels.")
        if len(pixels) != len(numbers):
            raise DataError(f"{images} holds {len(pixels):,} images and {labels} {len(numbers):,} labels.")
        files[split] = [(images, numbers)]
    return _cases(_Source(MNIST, MNIST_CLASSES, files), section, normal, val_fraction, split_seed)


def read_cifar10(
    dataset_dir: str | Path,
    *,
    section: Section = "all",
    category: str | int | None = None,
    val_fraction: float = 0.0,
    split_seed: int = 0,
) -> list[Case]:
    """Read the records of one section of CIFAR-10 (Krizhevsky 2009).

    As :func:`read_mnist`, but:

    Args:
        dataset_dir: the folder of ``data_batch_1`` to ``data_batch_5`` and ``test_batch``, or the folder that holds it
            as ``cifar-10-batches-py``, or the folder of ``train.npz`` and ``test.npz``.
        section: see there.
        category: the normal class by name (``cat``) or number.
        val_fraction: .1 in the paper: 4,500 and 500 images.
        split_seed: see there.
    """
    root = dataset_folder(dataset_dir)
    normal = _normal_class(category, CIFAR10_CLASSES)
    _check_section(section, val_fraction)
    if not (root / "test.npz").is_file() and (root / "cifar-10-batches-py").is_dir():
        root = root / "cifar-10-batches-py"
    files: dict[Split, list[tuple[Path, NDArray[np.int64]]]] = {}
    for split, name in _splits(section, "train", "test").items():
        if (root / f"{name}.npz").is_file():
            paths = [root / f"{name}.npz"]
        elif name == "train":
            paths = [root / f"data_batch_{number}" for number in range(1, 6)]
        else:
            paths = [root / "test_batch"]
        files[split] = [(path, _cifar_labels(path)) for path in paths]
    return _cases(_Source(CIFAR10, CIFAR10_CLASSES, files), section, normal, val_fraction, split_seed)


def _splits(section: Section, train: str, test: str) -> dict[Split, str]:
    """Names of the file sets that a section needs."""
    wanted: dict[Split, str] = {}
    if section != "test":
        wanted["train"] = train
    if section in ("test", "all"):
        wanted["test"] = test
    return wanted


def _check_section(section: str, val_fraction: float) -> None:
    if section not in SECTIONS:
        raise ConfigError(f"section is {section!r}; use one of {', '.join(SECTIONS)}.")
    if section == "val" and val_fraction == 0:
        raise ConfigError("section 'val' needs a val_fraction above 0: no validation images are published.")


def _normal_class(category: str | int | None, classes: Sequence[str]) -> int:
    """Number of the class that is normal."""
    listed = f"one of {', '.join(classes)}"
    if category is None:
        raise ConfigError(f"category is not set; give the class that is normal, {listed}.")
    if isinstance(category, str) and category in classes:
        return classes.index(category)
    if not isinstance(category, bool) and str(category).isdecimal() and int(category) < len(classes):
        return int(category)
    raise ConfigError(f"category is {category!r}; give the class that is normal, {listed}.")


def _idx_file(root: Path, name: str) -> Path:
    # Some copies write a full stop before "idx".
    candidates = [f"{spelling}{suffix}" for spelling in (name, name.replace("-idx", ".idx")) for suffix in ("", ".gz")]
    for candidate in candidates:
        if (root / candidate).is_file():
            return root / candidate
    raise DataError(f"{root} has no file {name} or {name}.gz; MNIST is four such files.")


def _cifar_labels(path: Path) -> NDArray[np.int64]:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist; CIFAR-10 is data_batch_1 to 5 and test_batch, or train.npz and test.npz."
        )
    pack = read_pack(path)
    if pack.images is None or pack.labels is None or pack.images.shape[1] != 3:
        raise DataError(f"{path} holds no colour images with labels; it is not of CIFAR-10.")
    if pack.classes and pack.classes != CIFAR10_CLASSES:
        raise DataError(f"{path} has the classes {', '.join(pack.classes)}; CIFAR-10 has {', '.join(CIFAR10_CLASSES)}.")
    return pack.labels


def _cases(source: _Source, section: Section, normal: int, val_fraction: float, split_seed: int) -> list[Case]:
    cases: list[Case] = []
    for split, files in source.files.items():
        read = []
        start = 0
        for path, labels in files:
            wrong = labels[(labels < 0) | (labels >= len(source.classes))]
            if wrong.size:
                raise DataError(f"{path} has label {wrong[0]}; {source.name} has 0 to {len(source.classes) - 1}.")
            for index in np.arange(len(labels)) if split == "test" else np.flatnonzero(labels == normal):
                name = f"{split}/{start + index:05d}"
                label = int(labels[index] != normal)
                findings = (source.classes[labels[index]],) if label else ()
                image = packed_path(path, int(index))
                case = Case(name, name, image, source.name, split, label, findings=findings)
                read.append(replace(case, group=source.classes[normal]))
            start += len(labels)
        if not read:
            raise DataError(f"Class {source.classes[normal]} has no training image in {files[0][0].parent}.")
        if split == "test":
            cases += read
            continue
        kept, held = hold_out_patients(read, val_fraction, split_seed)
        if section in ("train", "all"):
            cases += kept
        if section in ("val", "all"):
            cases += [replace(case, split="val") for case in held]
    return sorted(cases, key=lambda case: case.case_id)
