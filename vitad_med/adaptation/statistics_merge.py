"""Statistics of the parts of a data set, made on several machines, become those of the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from vitad_med.adaptation.entropy_moments import EntropyMoments
from vitad_med.adaptation.statistics import SourceStatistics, first_difference, short
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
        DataError: there is no part, or images or patients occur twice.
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
    )
