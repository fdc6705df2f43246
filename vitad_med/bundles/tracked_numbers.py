"""Real numbers of nested results, by the names under which MLflow keeps them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import torch

from vitad_med.errors import DataError
from vitad_med.evaluation.document import SCHEMA


def flat_numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Real numbers of a nested mapping by name, e.g. ``{"loss": 0.3, "grad/norm": 1.2}``; anything else is left out."""
    found: dict[str, float] = {}
    for name, value in values.items():
        label = prefix + str(name).replace("=", "-").replace(",", "/")
        if isinstance(value, Mapping):
            found.update(flat_numbers(value, label + "/"))
        elif _is_number(value):
            found[label] = float(value)
    return found


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def document_numbers(document: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a metrics document by ``<cohort>/<metric>`` and ``<cohort>/null/<map>/<metric>``.

    Raises:
        DataError: the document is of another schema.
    """
    if document.get("schema") != SCHEMA:
        raise DataError(f"metrics document of schema {document.get('schema')!r}, wanted {SCHEMA!r}")
    cohorts = {
        name: {
            **{metric: result["value"] for metric, result in cohort["metrics"].items()},
            "null": cohort.get("nulls", {}),
            "n_images": cohort["n_images"],
        }
        for name, cohort in document["cohorts"].items()
    }
    return {name: value for name, value in flat_numbers(cohorts).items() if math.isfinite(value)}
