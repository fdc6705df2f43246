"""Statistics of the parts of a data set, made on several machines, become those of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vitad_med.adaptation.entropy_moments import EntropyMoments
from vitad_med.adaptation.statistics import SourceStatistics
from vitad_med.data.disjoint import check_disjoint
from vitad_med.digests import first_difference
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
    patients = check_disjoint(parts, "statistics", "statistics")
    moments = EntropyMoments(first.mean, first.squares, first.count)
    for part in parts[1:]:
        moments = moments.merge(EntropyMoments(part.mean, part.squares, part.count))
    return replace(
        first,
        mean=moments.mean,
        squares=moments.squares,
        count=moments.count,
        data_digests=tuple(sorted(digest for part in parts for digest in part.data_digests)),
        patients=patients,
        naming=tuple(sorted({name for part in parts for name in part.naming})),
        shards=tuple(sorted(shard for part in parts for shard in part.shards)),
    )
