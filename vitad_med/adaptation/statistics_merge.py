"""Statistics of the parts of a data set, made on several machines, become those of the whole."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from vitad_med.adaptation.entropy_moments import EntropyMoments
from vitad_med.adaptation.statistics import SourceStatistics, first_difference, short
from vitad_med.data.roster import recognises
from vitad_med.data.shards import parse_shard_name
from vitad_med.errors import ConfigError, DataError

# What parts must have in common beside their pipeline: the result has one value of each.
SETTINGS = (
    *("model_digest", "grid", "image_size", "renormalise_rows", "views", "multicrop"),
    *("synthesis", "scorer_digest", "seed"),
)


def merge_statistics(parts: Sequence[SourceStatistics]) -> SourceStatistics:
    """Statistics of all the images of several parts, such as the shards of one data set.

    Raises:
        ConfigError: model, pipeline or settings differ; names the key and both values.
        DataError: there is no part, images or patients occur twice, or nothing shows that they do not: patients without
            names under one key are known to be others only in different shards of one list.
    """
    if not parts:
        raise DataError("there are no statistics to merge: name at least one file")
    first = parts[0]
    for number, other in enumerate(parts[1:], start=2):
        ours, theirs = (
            {name: getattr(part, name) for name in SETTINGS}
            | {f"pipeline {key}": value for key, value in part.pipeline.items()}
            for part in (first, other)
        )
        difference = first_difference(ours, theirs)
        if difference is not None:
            key, one, two = difference
            raise ConfigError(
                f"statistics 1 and {number} cannot be merged: {key} is {one} in the one and {two} in the other; make "
                "both with the same settings"
            )
    digests = [digest for part in parts for digest in part.data_digests]
    twice = [digest for digest, times in Counter(digests).items() if times > 1]
    if twice:
        raise DataError(f"the images {short(twice[0])} are in two of the statistics: name each part once")
    seen: set[str] = set()
    for number, part in enumerate(parts, start=1):
        if seen & part.patients:
            raise DataError(
                f"{len(seen & part.patients)} patients of statistics {number} are in an earlier one too, and would "
                "count twice: make the parts with --shard 1/N to N/N"
            )
        seen |= part.patients
    for (number, part), (other_number, other) in itertools.combinations(enumerate(parts, start=1), 2):
        _check_apart(number, part, other_number, other)
    moments = EntropyMoments(first.mean, first.squares, first.count)
    for part in parts[1:]:
        moments = moments.merge(EntropyMoments(part.mean, part.squares, part.count))
    return replace(
        first,
        mean=moments.mean,
        squares=moments.squares,
        count=moments.count,
        data_digests=tuple(sorted(digests)),
        patients=frozenset(seen),
        naming=tuple(sorted({name for part in parts for name in part.naming})),
        shards=tuple(sorted(shard for part in parts for shard in part.shards)),
    )


def _check_apart(one: int, left: SourceStatistics, two: int, right: SourceStatistics) -> None:
    """Refuse two parts whose images may be the same, by their places in the lists that they are shards of."""
    blind = not recognises(left.naming, right.naming)
    if blind and not all(len(part.shards) == len(part.data_digests) for part in (left, right)):
        raise DataError(
            f"statistics {one} and {two} name their patients in no common way, nor which part of a list they are, so "
            "the same images may be in both: make them again as --shard 1/N to N/N of one DATASET_DIR, or with "
            "the same --identifier_key_file"
        )
    for ours, theirs in itertools.product(left.shards, right.shards):
        number, parts, images = parse_shard_name(ours)
        other_number, other_parts, other_images = parse_shard_name(theirs)
        if images == other_images and (parts != other_parts or number == other_number):
            raise DataError(
                f"statistics {one} and {two} are shards {number}/{parts} and {other_number}/{other_parts} of the same "
                "images, and some would count twice: merge shards 1/N to N/N, each once"
            )
        if blind and images != other_images:
            raise DataError(
                f"statistics {one} and {two} are of different lists of images ({images[:12]} and {other_images[:12]}) "
                "and name their patients in no common way, so the same may be in both: make them as shards of one "
                "list, or with the same --identifier_key_file"
            )
