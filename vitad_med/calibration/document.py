"""``calibration.json``: scores of a site's own normal images, and what they are valid for.

The file holds sorted numbers only: which score belongs to which patient, or to which intensity, cannot be told from it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitad_med.errors import DataError
from vitad_med.evaluation.document import Value
from vitad_med.evaluation.files import write_text

SCHEMA = "vitad_med/calibration/1"
DIGESTS = ("model_digest", "pipeline_digest", "backend_digest")


@dataclass(frozen=True, eq=False)
class Calibration:
    """What ``vitad-med calibrate`` found.

    Attributes:
        scores: one score a calibration patient, float64 [n], ascending.
        images: images of the calibration patients, of which n were drawn.
        false_positive_rate: rate that was asked for, in (0, 1).
        threshold: images with a greater score are flagged at that rate.
        seed: of the draw of one image a patient, and of the held-out patients.
        check_fraction: part of the patients held out to check the rate.
        check: ``images``, ``patients`` and the ``false_positive_rate`` (a figure) of the held-out patients, or None.
        patients_known: False where every image counted as a patient of its own.
        cohorts: cohort key -> ``images`` and ``patients`` of the normal images used; None where a cell is too small to
            be told.
        intensities: quantity -> its values in the drawn images, float64 [at most 2,000], ascending.
        model_digest, pipeline_digest, backend_digest: the scores are those of this model, these settings and this
            device and precision alone.
        data_digest: of the run that scored the images, or None.
        method: name of the method, or None.
        created: time of that run, UTC, or None.
    """

    scores: NDArray[np.float64]
    images: int
    false_positive_rate: float
    threshold: float
    seed: int
    check_fraction: float
    check: dict[str, Any] | None
    patients_known: bool
    cohorts: Mapping[str, Mapping[str, int | None]]
    intensities: Mapping[str, NDArray[np.float64]]
    model_digest: str
    pipeline_digest: str
    backend_digest: str
    data_digest: str | None
    method: str | None
    created: str | None

    @property
    def patients(self) -> int:
        """Calibration patients n, one score each."""
        return len(self.scores)

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes as :func:`write_calibration` writes them."""
        return hashlib.sha256(calibration_text(self).encode()).hexdigest()


def calibration_text(calibration: Calibration) -> str:
    """The bytes of the file, as text: the same calibration gives the same text."""
    content: dict[str, Any] = {"schema": SCHEMA}
    for name in _ORDER:
        value = getattr(calibration, name)
        if name == "scores":
            value = value.tolist()
        elif name == "intensities":
            value = {quantity: values.tolist() for quantity, values in value.items()}
        content[name] = value
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in content.items())
    return f"{{\n{lines}\n}}\n"


def write_calibration(path: str | Path, calibration: Calibration) -> None:
    """Replace the file whole.

    Raises:
        StorageError: it cannot be written; a former file stays as it was.
    """
    write_text(path, calibration_text(calibration))


def read_calibration(path: str | Path) -> Calibration:
    """Read and check a calibration.

    Raises:
        DataError: the file is missing, damaged, edited, or of another schema; names the key and the remedy.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; `vitad-med calibrate FOLDER --out {path}` writes it.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable JSON ({error}); calibrate again.") from error
    try:
        return _from_content(content)
    except DataError as error:
        raise DataError(f"{path}: {error}; calibrate again.") from error


def _from_content(content: Any) -> Calibration:
    _require(isinstance(content, dict), "the file", "a JSON object")
    _require(content.get("schema") == SCHEMA, "schema", f"'{SCHEMA}'")
    missing = [name for name in _ORDER if name not in content]
    _require(not missing, missing[0] if missing else "", "present")
    values = {name: content[name] for name in _ORDER}
    values["scores"] = _ascending(values["scores"], "scores")
    _require(len(values["scores"]) > 0, "scores", "at least one number")
    _require(isinstance(values["intensities"], dict), "intensities", "an object")
    values["intensities"] = {
        name: _ascending(numbers, f"intensities.{name}") for name, numbers in values["intensities"].items()
    }
    for name in DIGESTS:
        _require(isinstance(values[name], str) and bool(values[name]), name, "a digest")
    for name in ("data_digest", "method", "created"):
        _require(values[name] is None or isinstance(values[name], str), name, "text or null")
    _require(_is_number(values["false_positive_rate"]), "false_positive_rate", "a number")
    _require(0 < values["false_positive_rate"] < 1, "false_positive_rate", "between 0 and 1")
    _require(_is_number(values["check_fraction"]) and 0 <= values["check_fraction"] < 1, "check_fraction", "in [0, 1)")
    for name in ("images", "seed"):
        _require(isinstance(values[name], int) and not isinstance(values[name], bool), name, "a whole number")
    _require(values["images"] >= len(values["scores"]), "images", "at least the number of scores")
    _require(isinstance(values["patients_known"], bool), "patients_known", "true or false")
    _require(isinstance(values["cohorts"], dict), "cohorts", "an object")
    for key, counts in values["cohorts"].items():
        whole = isinstance(counts, dict) and all(
            counts.get(name, "") is None or isinstance(counts.get(name), int) for name in ("images", "patients")
        )
        _require(whole, f"cohorts.{key}", "counts 'images' and 'patients'")
    _require(_is_number(values["threshold"]), "threshold", "a number")
    # An edited threshold or score would flag at another rate than the file states.
    _require(bool(np.isin(values["threshold"], values["scores"])), "threshold", "one of the scores")
    if values["check"] is not None:
        _check_of_check(values["check"])
    return Calibration(**values)


def _check_of_check(check: Any) -> None:
    _require(isinstance(check, dict), "check", "an object or null")
    for name in ("images", "patients"):
        _require(isinstance(check.get(name), int), f"check.{name}", "a whole number")
    figure = check.get("false_positive_rate")
    _require(isinstance(figure, dict), "check.false_positive_rate", "a figure")
    _require(Value.__annotations__.keys() <= figure.keys(), "check.false_positive_rate", "a figure with all its keys")


def _ascending(numbers: Any, name: str) -> NDArray[np.float64]:
    _require(isinstance(numbers, list) and all(_is_number(number) for number in numbers), name, "a list of numbers")
    values = np.array(numbers, dtype=np.float64)
    _require(bool((np.diff(values) >= 0).all()), name, "in ascending order")
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _require(condition: bool, name: str, wanted: str) -> None:
    if not condition:
        raise DataError(f"'{name}' must be {wanted}")


_ORDER = tuple(field.name for field in fields(Calibration))
