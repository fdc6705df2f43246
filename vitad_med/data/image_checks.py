"""Decode every image file of a data set and say what is wrong with any."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from vitad_med.data.cache import PROGRESS_FROM
from vitad_med.data.image_io import read_stored
from vitad_med.data.report import Problem, Severity
from vitad_med.errors import DataError


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What decoding one file told; `error` is None when it could be read."""

    path: Path
    error: str | None = None
    shape: tuple[int, ...] = ()
    dtype: str = ""
    constant: int | None = None  # the value of every pixel, where they are all equal
    digest: bytes = b""  # of the pixels


def decode_all(paths: Sequence[Path]) -> list[ImageFacts]:
    """Decode files on all cores, with a progress bar for large sets; facts in the order of `paths`."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        progress = track(
            pool.map(_facts, paths),
            total=len(paths),
            description=f"Decoding {len(paths)} images",
            console=Console(stderr=True),
            transient=True,
            disable=len(paths) < PROGRESS_FROM,
        )
        return list(progress)


def _facts(path: Path) -> ImageFacts:
    try:
        pixels = read_stored(path)
    except DataError as error:
        return ImageFacts(path, error=str(error))
    constant = int(pixels.flat[0]) if pixels.min() == pixels.max() else None
    digest = hashlib.sha256(pixels.tobytes()).digest()
    return ImageFacts(path, None, pixels.shape, pixels.dtype.name, constant, digest)


def image_problems(facts: Iterable[ImageFacts], splits: dict[Path, str]) -> list[Problem]:
    """Unreadable, constant and repeated images, and mixed pixel types.

    Args:
        facts: of every decoded file.
        splits: file -> split; an image that is stored in two splits is an error.
    """
    unreadable: list[str] = []
    black: list[str] = []
    constant: list[str] = []
    types: set[str] = set()
    by_digest: dict[bytes, list[Path]] = {}
    for fact in facts:
        if fact.error is not None:
            unreadable.append(fact.error)
            continue
        types.add(fact.dtype)
        if fact.constant is not None:
            (black if fact.constant == 0 else constant).append(str(fact.path))
        else:
            by_digest.setdefault(fact.digest, []).append(fact.path)
    repeated = [paths for paths in by_digest.values() if len(paths) > 1]
    across = [paths for paths in repeated if len({splits[path] for path in paths}) > 1]
    within = [paths for paths in repeated if len({splits[path] for path in paths}) == 1]
    found: tuple[tuple[Severity, str, str, tuple[str, ...]], ...] = (
        ("error", "unreadable", "images that cannot be read", tuple(unreadable)),
        ("error", "all_black", "images that are all black", tuple(black)),
        ("error", "constant", "images with the same value in every pixel", tuple(constant)),
        ("error", "repeated_across_splits", "images in more than one split, pixel for pixel", _pairs(across)),
        ("warning", "repeated_within_split", "images stored more than once within a split", _pairs(within)),
    )
    problems = [Problem(severity, code, text, items) for severity, code, text, items in found if items]
    if len(types) > 1:
        text = f"Pixel types are mixed ({', '.join(sorted(types))}); bit depth must not tell normal from abnormal."
        problems.append(Problem("warning", "mixed_pixel_types", text))
    return problems


def _pairs(groups: list[list[Path]]) -> tuple[str, ...]:
    return tuple(" = ".join(str(path) for path in group) for group in groups)
