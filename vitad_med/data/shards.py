"""A part of the patients, for work that is shared out among machines and merged afterwards."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vitad_med.data.case import Case
from vitad_med.data.splits import split_digest
from vitad_med.errors import ConfigError, DataError


def shard_of(cases: Sequence[Case], shard: str) -> list[Case]:
    """The cases of one of several parts of the patients; the parts are disjoint and together everybody.

    Args:
        cases: in the order of the result.
        shard: ``K/N``: the K-th of N parts, e.g. ``2/4`` for the second quarter of the sorted patients; ``1/1`` is all.

    Raises:
        ConfigError: ``shard`` is not of this form.
        DataError: there are fewer patients than parts.
    """
    number, parts = _position(shard)
    patients = sorted({case.patient_id for case in cases})
    if parts > len(patients):
        raise DataError(f"shard {shard!r}: {len(patients)} patients make no {parts} parts; give fewer parts")
    low, high = ((len(patients) * edge) // parts for edge in (number - 1, number))
    chosen = set(patients[low:high])
    return [case for case in cases if case.patient_id in chosen]


def shard_name(cases: Sequence[Case], shard: str) -> str:
    """``K/N`` and a digest of the whole list that is shared out: two parts of one list are told apart by it.

    The digest is of identifiers and labels, in any order, and not of the place of the files.

    Args:
        cases: of all parts together.
        shard: as :func:`shard_of` takes it.

    Raises:
        ConfigError: ``shard`` is not of this form.
    """
    number, parts = _position(shard)
    return f"{number}/{parts} {split_digest(cases)}"


def parse_shard_name(name: str) -> tuple[int, int, str]:
    """K, N and the digest of the whole list from what :func:`shard_name` made.

    Raises:
        DataError: it did not make this.
    """
    found = re.fullmatch(r"(\d+)/(\d+) ([0-9a-f]{64})", name)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise DataError(f"{name!r} names no part of a list")
    return int(found[1]), int(found[2]), found[3]


def describe_shard(name: str) -> str:
    """The same in words, with the digest cut short.

    Raises:
        DataError: :func:`shard_name` did not make this.
    """
    number, parts, images = parse_shard_name(name)
    return f"{number}/{parts} of the list {images[:12]}"


def _position(shard: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    number, parts = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    if not 1 <= number <= parts:
        raise ConfigError(f"shard is {shard!r}, but must be K/N with K from 1 to N, e.g. '2/4' for the second quarter")
    return number, parts
