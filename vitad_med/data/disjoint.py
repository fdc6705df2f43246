"""Proof that parts of a data set share no image and no patient, before what was made of them apart becomes one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from vitad_med.data.roster import recognises
from vitad_med.data.shards import parse_shard_name
from vitad_med.digests import short
from vitad_med.errors import DataError


class Part(Protocol):
    """What a part says of the images that it was made of.

    Attributes:
        data_digests: of the images of each part that was merged into it.
        patients: as :func:`vitad_med.data.roster.patient_keys` names them.
        naming: how they are named (:func:`vitad_med.data.roster.naming`).
        shards: which part of which list each is (:func:`vitad_med.data.shards.shard_name`); empty if not told.
    """

    @property
    def data_digests(self) -> tuple[str, ...]: ...

    @property
    def patients(self) -> frozenset[str]: ...

    @property
    def naming(self) -> tuple[str, ...]: ...

    @property
    def shards(self) -> tuple[str, ...]: ...


def check_disjoint(parts: Sequence[Part], one: str, many: str) -> frozenset[str]:
    """Refuse parts that share images or patients, or of which nothing shows that they do not.

    Args:
        parts: in the order in which messages count them, from 1.
        one: what a part is called, e.g. ``fit``.
        many: its plural.

    Returns:
        the patients of all parts.

    Raises:
        DataError: images or patients occur twice; or patients without names under one key are known to be others
            neither by their names nor as different shards of one list.
    """
    digests = [digest for part in parts for digest in part.data_digests]
    twice = [digest for digest, times in Counter(digests).items() if times > 1]
    if twice:
        raise DataError(f"the images {short(twice[0])} are in two of the {many}: name each part once")
    seen: set[str] = set()
    for number, part in enumerate(parts, start=1):
        if seen & part.patients:
            raise DataError(
                f"{len(seen & part.patients)} patients of {one} {number} are in an earlier one too, and would count "
                "twice: make the parts with --shard 1/N to N/N"
            )
        seen |= part.patients
    for (number, part), (other_number, other) in itertools.combinations(enumerate(parts, start=1), 2):
        _check_apart(f"{many} {number} and {other_number}", part, other)
    return frozenset(seen)


def _check_apart(which: str, left: Part, right: Part) -> None:
    """Refuse two parts whose images may be the same, by their places in the lists that they are shards of."""
    blind = not recognises(left.naming, right.naming)
    if blind and not all(len(part.shards) == len(part.data_digests) for part in (left, right)):
        raise DataError(
            f"{which} name their patients in no common way, nor which part of a list they are, so "
            "the same images may be in both: make them again as --shard 1/N to N/N of one DATASET_DIR, or with "
            "the same --identifier_key_file"
        )
    for ours, theirs in itertools.product(left.shards, right.shards):
        number, parts, images = parse_shard_name(ours)
        other_number, other_parts, other_images = parse_shard_name(theirs)
        if images == other_images and (parts != other_parts or number == other_number):
            raise DataError(
                f"{which} are shards {number}/{parts} and {other_number}/{other_parts} of the same "
                "images, and some would count twice: merge shards 1/N to N/N, each once"
            )
        if blind and images != other_images:
            raise DataError(
                f"{which} are of different lists of images ({images[:12]} and {other_images[:12]}) "
                "and name their patients in no common way, so the same may be in both: make them as shards of one "
                "list, or with the same --identifier_key_file"
            )
