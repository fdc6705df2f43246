"""Real numbers of nested results, by the names under which MLflow keeps them."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from typing import Any

import torch

from vitad_med.errors import DataError
from vitad_med.evaluation.document import SCHEMA
from vitad_med.reporting.document.types import Report

_UNFIT = re.compile(r"[^\w\-. :]")


def flat_numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Real numbers of a nested mapping by name, e.g. ``{"loss": 0.3, "grad/norm": 1.2}``; anything else is left out."""
    found: dict[str, float] = {}
    for name, value in values.items():
        label = prefix + metric_name(str(name))
        if isinstance(value, Mapping):
            found.update(flat_numbers(value, label + "/"))
        elif _is_number(value):
            found[label] = float(value)
    return found


def metric_name(text: str) -> str:
    """A name that MLflow takes: ``sex=F,age=65+`` becomes ``sex-F/age-65plus``, any other sign an underscore."""
    parts = text.replace("=", "-").replace("+", "plus").split(",")
    return "/".join(_UNFIT.sub("_", part).strip(".") or "_" for part in parts)


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


def report_numbers(report: Report) -> dict[str, float]:
    """Numbers of a report: ``<cohort>/<metric>`` with ``.low`` and ``.high``, ``<cohort>/operating/<metric>``,
    ``<cohort>/null/<map>/<metric>``, ``<cohort>/difference/<map>`` and ``<cohort>/n_images``; what is null is left out.
    """
    point = report["operating_point"]
    cohorts: dict[str, dict[str, Any]] = {}
    for key, cohort in report["cohorts"].items():
        operating: Mapping[str, Any] = {} if point is None else {**point["cohorts"].get(key, {})}
        cohorts[key] = {
            **_with_ends(cohort["image"]),
            **_with_ends(cohort["localization"]),
            "operating": _with_ends(operating),
            "null": {name: _values(figures) for name, figures in cohort["nulls"].items()},
            "difference": _values(cohort["differences"]),
            "n_images": cohort["n_images"],
        }
    return flat_numbers(cohorts)


def _values(figures: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: figure["value"] for name, figure in figures.items()}


def _with_ends(figures: Mapping[str, Any]) -> dict[str, float | None]:
    named: dict[str, float | None] = {}
    for name, figure in figures.items():
        named |= {name: figure["value"], f"{name}.low": figure["low"], f"{name}.high": figure["high"]}
    return named
