"""Whether an image is one that a bundle says it is meant for; if not, it is scored and marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitad_med.data.case import UNKNOWN
from vitad_med.errors import ConfigError


@dataclass(frozen=True, slots=True)
class IntendedUse:
    """What a bundle's ``metadata.json`` declares of its input; None is anything.

    Attributes:
        modalities: e.g. ``CR`` and ``DX``.
        views: e.g. ``PA`` and ``AP``.
        youngest, oldest: years, both included.
    """

    modalities: tuple[str, ...] | None = None
    views: tuple[str, ...] | None = None
    youngest: float | None = None
    oldest: float | None = None

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, Any]) -> IntendedUse:
        """From ``network_data_format.inputs.image`` of a bundle's metadata.

        Raises:
            ConfigError: a declaration that cannot be read; names the key.
        """
        image = metadata.get("network_data_format", {}).get("inputs", {}).get("image", {})
        modality = image.get("modality")
        ages = image.get("ages") or {}
        if ages and ages.get("unit") != "years":
            raise ConfigError("metadata.json: network_data_format.inputs.image.ages has no unit 'years'; write it")
        return cls(
            _texts("modality", [modality] if isinstance(modality, str) else modality),
            _texts("views", image.get("views")),
            _years("youngest", ages.get("youngest")),
            _years("oldest", ages.get("oldest")),
        )

    def outside(self, modality: str, view: str, age: float | None) -> tuple[str, ...]:
        """What is not declared, as ``modality``, ``view``, ``age`` and ``..._unknown``; empty for an image within."""
        found = []
        for name, value, declared in (("modality", modality, self.modalities), ("view", view, self.views)):
            if declared is None:
                continue
            if value in ("", UNKNOWN):
                found.append(f"{name}_unknown")
            elif value not in declared:
                found.append(name)
        if self.youngest is not None or self.oldest is not None:
            if age is None:
                found.append("age_unknown")
            elif not (self.youngest or 0) <= age <= (float("inf") if self.oldest is None else self.oldest):
                found.append("age")
        return tuple(found)


def _texts(key: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ConfigError(f"metadata.json: network_data_format.inputs.image.{key} must be a list of texts")
    return tuple(value)


def _years(key: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ConfigError(f"metadata.json: network_data_format.inputs.image.ages.{key} must be null or years of age")
    return float(value)
