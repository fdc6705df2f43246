"""Fits of the parts of a data set, made in other processes or on other machines, become that of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitad_med.data.disjoint import check_disjoint
from vitad_med.digests import first_difference
from vitad_med.errors import ConfigError, DataError
from vitad_med.normality.kinds import create_fit
from vitad_med.normality.model import NormalityFit
from vitad_med.normality.state import Provenance, Stored, read_stored, write_stored


def merge_parts(paths: Sequence[str | Path], epsilon: float | None = None) -> tuple[NormalityFit, Provenance]:
    """The fit of all the images of several complete parts, and what it is made of.

    Parts are read one after another, so that few lie in memory at a time.

    Args:
        paths: of the parts.
        epsilon: of the model, in place of the parts' own. A Gaussian is collected without it and finished with it, so
            that parts which differ in nothing else go together; but whose counts must be said.

    Raises:
        ConfigError: extractor, image size, scorer or settings differ, names the key and both values; or ``epsilon`` is
            given for parts that have none.
        DataError: there is no part, one is unfinished, or images or patients occur twice
            (:func:`vitad_med.data.disjoint.check_disjoint`).
        WeightsError: a file cannot be read.
    """
    if not paths:
        raise DataError("there are no parts to merge: name at least one file")
    whole: NormalityFit | None = None
    ours: dict[str, Any] = {}
    provenances: list[Provenance] = []
    for number, path in enumerate(paths, start=1):
        part = read_stored(path, "part")
        if not part.complete:
            raise DataError(f"'{path}' is of an unfinished fit: repeat the command that makes it, it goes on")
        provenances.append(part.provenance)
        check_disjoint(provenances, "part", "parts")  # before anything is added
        settings = _with_epsilon(part, epsilon)
        theirs = {"scorer": part.kind, **settings, **part.provenance.features}
        ours = ours or theirs
        difference = first_difference(ours, theirs)
        if difference is not None:
            key, one, two = difference
            remedy = "say which with --epsilon" if key == "epsilon" else "make both with the same settings"
            raise ConfigError(
                f"parts 1 and {number} cannot be merged: {key} is {one} in the one and {two} in the other; {remedy}"
            )
        fit = create_fit(part.kind, settings)
        fit.restore(part.tensors)
        del part  # two lie in memory while they are joined
        if whole is None:
            whole = fit
        else:
            whole.merge(fit)
    assert whole is not None  # of at least one part
    return whole, replace(
        provenances[0],
        data_digests=tuple(sorted(digest for one in provenances for digest in one.data_digests)),
        patients=frozenset().union(*(one.patients for one in provenances)),
        naming=tuple(sorted({name for one in provenances for name in one.naming})),
        shards=tuple(sorted(shard for one in provenances for shard in one.shards)),
    )


def _with_epsilon(part: Stored, epsilon: float | None) -> dict[str, Any]:
    if epsilon is None:
        return dict(part.settings)
    if "epsilon" not in part.settings:
        raise ConfigError(f"--epsilon does not apply to parts of a fit of kind '{part.kind}'; leave it out")
    return {**part.settings, "epsilon": epsilon}


def write_model_of_parts(paths: Sequence[str | Path], path: str | Path, epsilon: float | None = None) -> str:
    """Merge complete parts and write the model of the whole; returns its digest.

    Raises:
        as :func:`merge_parts` and :func:`~vitad_med.normality.state.write_stored`.
    """
    fit, provenance = merge_parts(paths, epsilon)
    model = fit.finish()
    return write_stored(path, Stored("model", model.kind, model.settings, provenance, model.state_dict()))
