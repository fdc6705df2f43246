"""File names made from the names of images."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

LONGEST = 100  # characters; most file systems take 255 bytes
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# Device names of Windows, with any suffix.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def file_stems(names: Sequence[str]) -> list[str]:
    """A file name without suffix for each image, safe on every file system and different for different images.

    A name of letters, digits, dots, hyphens and underscores is kept. In any other (``screw/test/good/000``), and where
    two differ in case alone, the rest becomes an underscore and 8 hexadecimal digits of the name's SHA-256 follow.

    Args:
        names: N different names.

    Returns:
        N different stems, in the same order; a name has the same stem in every list but for those that differ in case.
    """
    folded: dict[str, int] = {}
    for name in names:
        folded[name.casefold()] = folded.get(name.casefold(), 0) + 1
    return [_stem(name, alone=folded[name.casefold()] == 1) for name in names]


def _stem(name: str, alone: bool) -> str:
    safe = _UNSAFE.sub("_", name).strip(".")[:LONGEST]
    if alone and safe == name and safe and not _DEVICES.fullmatch(safe):
        return safe
    return f"{safe}-{hashlib.sha256(name.encode('utf-8')).hexdigest()[:8]}".lstrip("-")
