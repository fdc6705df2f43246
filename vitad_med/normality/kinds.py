"""The models of normality by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from vitad_med.errors import ConfigError, DataError, WeightsError
from vitad_med.normality.gaussian import GaussianFit, PositionGaussian
from vitad_med.normality.memory import GlobalMemory, MemoryFit
from vitad_med.normality.model import NormalityFit, NormalityModel
from vitad_med.normality.neighbours import NeighbourFit, PositionNeighbours

Scorer = Literal["gaussian", "knn"]
Memory = Literal["position", "global"]

_FITS: dict[str, type[GaussianFit] | type[NeighbourFit] | type[MemoryFit]] = {
    fit.kind: fit for fit in (GaussianFit, NeighbourFit, MemoryFit)
}
_MODELS: dict[str, type[NormalityModel]] = {
    model.kind: model for model in (PositionGaussian, PositionNeighbours, GlobalMemory)
}


def choose_fit(
    scorer: Scorer = "gaussian",
    memory: Memory = "position",
    epsilon: float = 0.01,
    k: int = 5,
    radius: int = 1,
    coreset_size: int = 10_000,
    candidates: int | None = 100_000,
    projection: int | None = 128,
    seed: int = 0,
) -> NormalityFit:
    """What a configuration asks for: the keys of other scorers are not looked at.

    Args:
        scorer: ``gaussian`` (a Gaussian per position) or ``knn``.
        memory: of ``knn``: features at the same ``position``, or ``global``, a coreset of all.
        epsilon: of ``gaussian``.
        k, radius: of ``knn`` by position.
        coreset_size, candidates, projection, seed: of the global memory.

    Raises:
        ConfigError: an unknown name or a value that makes no sense.
    """
    if memory not in ("position", "global"):
        raise ConfigError(f"memory '{memory}' is unknown: use 'position' or 'global'")
    if scorer == "gaussian":
        if memory == "global":
            raise ConfigError("memory 'global' goes with scorer 'knn': a Gaussian is fitted at each position")
        return GaussianFit(epsilon)
    if scorer == "knn":
        return MemoryFit(coreset_size, candidates, projection, seed) if memory == "global" else NeighbourFit(k, radius)
    raise ConfigError(f"scorer '{scorer}' is unknown: use 'gaussian' or 'knn'")


def create_fit(kind: str, settings: Mapping[str, Any]) -> NormalityFit:
    """An empty collection with the settings of a stored part.

    Raises:
        WeightsError: there is no such kind, or it has other settings.
    """
    try:
        return _FITS[kind](**settings)
    except (KeyError, TypeError) as error:
        raise WeightsError(f"a part of kind {kind!r} with settings {dict(settings)} is not known: fit again") from error


def restore_model(
    kind: str, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], grid: tuple[int, int], channels: int
) -> NormalityModel:
    """A model from what was stored of it.

    Raises:
        WeightsError: there is no such kind, or tensors and settings contradict each other.
    """
    try:
        return _MODELS[kind].of_tensors(tensors, settings, grid, channels)
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise WeightsError(
            f"a model of kind {kind!r} cannot be made of what was stored ({error}): fit again"
        ) from error
