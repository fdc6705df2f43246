"""The document ``metrics.json``: its structure, the check of it, and its writing.

Removing a key raises the number in ``SCHEMA``. See ``docs/metrics_json.md`` for the meaning of every key.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from vitad_med.errors import DataError, VitadError
from vitad_med.evaluation.cohorts import parse_key
from vitad_med.evaluation.files import write_text
from vitad_med.evaluation.null_maps import MAPS

SCHEMA = "vitad_med/metrics/2"

IMAGE_METRICS = ("image_auroc", "image_ap", "image_auroc_conditioned", "metadata_null_auroc")
LOCALIZATION_METRICS = ("pixel_auroc", "pixel_ap", "position_auroc", "conditioned_auroc", "pointing_game")
OUTLINE_METRICS = ("aupro",)
"""Beside those where the truth of every localized image is pixel-exact; absent elsewhere, boxes are not outlines."""

METRICS = IMAGE_METRICS + LOCALIZATION_METRICS
DECIMALS = 6
OPTIONAL = ("pipeline", "score_rule")


class Value(TypedDict):
    """One figure: ``value``, ``low``, ``high`` (95 % interval) are null when ``reason`` says why there is no figure.

    Without a reason ``low`` and ``high`` may still be null: the figure exists and too few patients carry an interval.
    ``n`` is the number of images that the metric used.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None


class Cohort(TypedDict):
    """One cohort: counts, metrics, the null maps' metrics on the same localized images, and the paired differences.

    ``differences`` are of ``conditioned_auroc``, method minus null map, by ``<map>`` and ``<map> inverted``.
    """

    n_images: int
    n_patients: int
    n_abnormal: int
    n_localized: int
    metrics: dict[str, Value]
    nulls: dict[str, dict[str, float | None]]
    differences: dict[str, Value]


class Document(TypedDict):
    """The whole of ``metrics.json``; ``pipeline`` and ``score_rule`` are there where the evaluation said them."""

    schema: str
    bundle: str
    model_digest: str
    data_digest: str
    pipeline: NotRequired[Mapping[str, Any]]
    score_rule: NotRequired[str]
    cohorts: dict[str, Cohort]


def scored(value: float, n: int, interval: tuple[float, float] | None = None) -> Value:
    """A figure, with its interval where there are enough patients for one."""
    low, high = interval if interval is not None else (None, None)
    return {
        "value": rounded(value),
        "low": None if low is None else rounded(low),
        "high": None if high is None else rounded(high),
        "n": int(n),
        "reason": None,
    }


def unscored(reason: str, n: int) -> Value:
    """No figure, and why."""
    return {"value": None, "low": None, "high": None, "n": int(n), "reason": reason}


def rounded(value: float) -> float:
    """Six decimals: sums in another order on another machine give the same bytes."""
    return round(float(value), DECIMALS) + 0.0


def check_document(document: Any) -> Document:
    """Check the structure of a document, own or read from a file; keys beyond the schema's are let through.

    Raises:
        DataError: naming the first key that is missing or of the wrong kind.
    """
    _require_keys(document, [key for key in Document.__annotations__ if key not in OPTIONAL], "the document")
    if document["schema"] != SCHEMA:
        raise DataError(f"metrics.json has schema '{document['schema']}'; this version reads '{SCHEMA}'.")
    for key in ("bundle", "model_digest", "data_digest"):
        _require(isinstance(document[key], str), key, "text")
    _require(isinstance(document["cohorts"], dict) and "all" in document["cohorts"], "cohorts", "an object with 'all'")
    for key, cohort in document["cohorts"].items():
        _check_cohort_key(key)
        _check_cohort(cohort, f"cohorts.{key}")
    return document


def read_document(path: str | Path) -> Document:
    """Read and check ``metrics.json``.

    Raises:
        DataError: the file is missing, no JSON, or not of this schema.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; run an evaluation that writes it.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON ({error}); run the evaluation again.") from error
    try:
        return check_document(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def write_metrics(path: str | Path, document: Document) -> None:
    """Write the document as JSON; the same document gives the same bytes.

    Raises:
        DataError: the document breaks its schema.
        StorageError: the file could not be written.
    """
    check_document(document)
    write_text(path, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def _check_cohort(cohort: Any, where: str) -> None:
    _require_keys(cohort, Cohort.__annotations__, where)
    for key in ("n_images", "n_patients", "n_abnormal", "n_localized"):
        _require(_is_count(cohort[key]), f"{where}.{key}", "a whole number of at least 0")
    _require_keys(cohort["metrics"], METRICS, f"{where}.metrics")
    for name, value in cohort["metrics"].items():
        check_value(value, f"{where}.metrics.{name}")
    _require_keys(cohort["nulls"], MAPS, f"{where}.nulls")
    for name, figures in cohort["nulls"].items():
        _require_keys(figures, LOCALIZATION_METRICS, f"{where}.nulls.{name}")
        for metric, figure in figures.items():
            _require(figure is None or _is_fraction(figure), f"{where}.nulls.{name}.{metric}", "null or in 0..1")
    _require(isinstance(cohort["differences"], dict), f"{where}.differences", "an object with keys")
    for name, value in cohort["differences"].items():
        check_value(value, f"{where}.differences.{name}", lowest=-1.0)


def check_value(value: Any, where: str, lowest: float = 0.0, highest: float = 1.0) -> None:
    """Check one figure; differences lie in -1..1.

    Raises:
        DataError: naming ``where`` and what is wrong.
    """
    _require_keys(value, Value.__annotations__, where)
    _require(_is_count(value["n"]), f"{where}.n", "a whole number of at least 0")
    triple = [value["value"], value["low"], value["high"]]
    if value["reason"] is not None:
        _require(isinstance(value["reason"], str) and value["reason"] != "", f"{where}.reason", "null or text")
        _require(triple == [None, None, None], where, "null in value, low and high, because it has a reason")
        return
    bounds = f"{lowest:g}..{highest:g}"
    _require(_is_within(value["value"], lowest, highest), f"{where}.value", f"in {bounds}, because it has no reason")
    _require((value["low"] is None) == (value["high"] is None), where, "an interval with both ends or none")
    if value["low"] is not None:
        ends = [value["low"], value["high"]]
        inside = all(_is_within(end, lowest, highest) for end in ends) and ends[0] <= ends[1]
        _require(inside, where, f"an interval inside {bounds}")


def _check_cohort_key(key: str) -> None:
    try:
        parse_key(key)
    except VitadError as error:
        raise DataError(str(error)) from error


def _require_keys(mapping: Any, keys: Iterable[str], where: str) -> None:
    if not isinstance(mapping, dict):
        raise DataError(f"{where} must be an object with keys.")
    missing = [key for key in keys if key not in mapping]
    if missing:
        raise DataError(f"{where} lacks the key '{missing[0]}'.")


def _require(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise DataError(f"{where} must be {what}.")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_fraction(value: Any) -> bool:
    return _is_within(value, 0.0, 1.0)


def _is_within(value: Any, lowest: float, highest: float) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and lowest <= value <= highest
