"""One entrance to every data source, so that a bundle's config names the source and its options as plain keys."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitad_med.data import chestxray14, mvtec, one_class
from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.dicom_folder import read_dicom_folder
from vitad_med.data.image_folder import read_image_folder
from vitad_med.data.mvtec import read_mvtec
from vitad_med.data.one_class import read_cifar10, read_mnist
from vitad_med.errors import ConfigError

# A new source is a module in this package, a line here, and a file in configs/datasets.
READERS: dict[str, Callable[..., list[Case]]] = {
    "nih_chestxray14": read_chestxray14,
    "mvtec": read_mvtec,
    "mnist": read_mnist,
    "cifar10": read_cifar10,
    "image_folder": read_image_folder,
    "dicom": read_dicom_folder,
}

PUBLIC_SOURCES = frozenset({chestxray14.SOURCE, mvtec.SOURCE, one_class.MNIST, one_class.CIFAR10})
"""Sources of published data sets: their identifiers and pictures may leave the site, those of any other may not."""


def read_cases(data: str, dataset_dir: str | Path, section: str, **options: Any) -> list[Case]:
    """Read the records of one section of a data set.

    Args:
        data: name of the source, a key of ``READERS``.
        dataset_dir: folder of the data set.
        section: ``train``, ``val``, ``test`` or ``all``.
        options: the reader's own options; None stands for the reader's default, so that one config can list the options
            of every source.

    Returns:
        Records sorted by ``case_id``.

    Raises:
        ConfigError: the source is unknown, or an option does not apply to it.
        DataError: the folder is missing, malformed, or the section is empty.
    """
    reader = READERS.get(data) if isinstance(data, str) else None
    if reader is None:
        close = difflib.get_close_matches(str(data), READERS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"use one of {', '.join(READERS)}"
        raise ConfigError(f"data '{data}' is unknown: {hint}")
    given = {name: value for name, value in options.items() if value is not None}
    accepted = inspect.signature(reader).parameters.keys() - {"dataset_dir", "section"}
    for name in sorted(given.keys() - accepted):
        raise ConfigError(f"'{name}' does not apply to data '{data}': leave it out; it takes {_listed(accepted)}")
    return reader(dataset_dir, section=section, **given)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no options"
