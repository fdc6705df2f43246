"""JSON documents described by TypedDicts: the check of one, its fixed order, its rounding, its reading and writing.

A type is a TypedDict, ``dict[str, T]``, ``list[T]``, ``T | None``, ``Literal``, ``str``, ``bool``, ``int`` or
``float``; ``Annotated[T, rule, ...]`` adds rules, functions of (value, where) that raise DataError.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from vitad_med.errors import DataError
from vitad_med.evaluation.document import rounded
from vitad_med.evaluation.files import write_text

Rule = Callable[[Any, str], None]

SIGNIFICANT_DIGITS = 9
"""Of numbers in a unit of their own, such as scores: six decimals could leave nothing of them."""

_NUMBER_LIST = re.compile(r"\[\n\s+((?:-?\d[\d.eE+-]*|null)(?:,\n\s+(?:-?\d[\d.eE+-]*|null))*)\n\s+\]")


@dataclass(frozen=True)
class Unit:
    """Marks numbers in a unit of their own in ``Annotated[float, Unit()]``.

    Attributes:
        exact: kept as they are, because scores are compared with them; otherwise nine significant digits are kept.
    """

    exact: bool = False


def require(holds: bool, where: str, what: str) -> None:
    """Raise DataError saying what the key must be, unless it is."""
    if not holds:
        raise DataError(f"{where} must be {what}.")


def between(low: float, high: float) -> Rule:
    """Rule: the number lies in [low, high]."""

    def rule(value: Any, where: str) -> None:
        require(value is None or low <= value <= high, where, f"in {low:g}..{high:g}")

    return rule


def check(value: Any, kind: Any, where: str = "") -> None:
    """Check a JSON value against its type; keys beyond a TypedDict's are let through.

    Raises:
        DataError: naming the first key that is missing or of the wrong kind, as a path such as ``cohorts.all.name``.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        check(value, arguments[0], where)
        for rule in arguments[1:]:
            if not isinstance(rule, Unit):
                rule(value, where)
    elif origin in (Union, UnionType):
        if value is not None or type(None) not in arguments:
            check(value, next(part for part in arguments if part is not type(None)), where)
    elif origin is Literal:
        require(value in arguments, where, "one of " + ", ".join(f"'{choice}'" for choice in arguments))
    elif origin is dict:
        require(isinstance(value, dict), where, "an object")
        for key, item in value.items():
            check(item, arguments[1], _join(where, key))
    elif origin is list:
        require(isinstance(value, list), where, "a list")
        for number, item in enumerate(value):
            check(item, arguments[0], f"{where}[{number}]")
    elif is_typeddict(kind):
        require(isinstance(value, dict), where or "the document", "an object")
        for key, part in get_type_hints(kind, include_extras=True).items():
            if key not in value:
                raise DataError(f"{where or 'the document'} lacks the key '{key}'.")
            check(value[key], part, _join(where, key))
    elif kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        require(number, where, "a finite number")
    elif kind is int:
        require(isinstance(value, int) and not isinstance(value, bool), where, "a whole number")
    else:
        require(isinstance(value, kind), where, "text" if kind is str else "true or false")


def ordered(value: Any, kind: Any, unit: Unit | None = None) -> Any:
    """A copy with the keys of every TypedDict in the order of its type and numbers rounded.

    Keys beyond the type's follow by name. Keys of ``dict[str, T]`` keep their order, which is the author's: cohorts
    stand in clinical order.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return ordered(value, arguments[0], next((rule for rule in arguments[1:] if isinstance(rule, Unit)), unit))
    if origin in (Union, UnionType):
        return None if value is None else ordered(value, next(p for p in arguments if p is not type(None)), unit)
    if origin is dict:
        return {key: ordered(item, arguments[1], unit) for key, item in value.items()}
    if origin is list:
        return [ordered(item, arguments[0], unit) for item in value]
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        known = {key: ordered(value[key], part, unit) for key, part in hints.items()}
        return known | {key: value[key] for key in sorted(value.keys() - hints.keys())}
    if not isinstance(value, float):
        return value
    if unit is None:
        return rounded(value)
    return value if unit.exact else float(f"{value:.{SIGNIFICANT_DIGITS}g}") + 0.0


def write_document(path: str | Path, document: Any, kind: Any) -> None:
    """Check the document and write it as JSON, lists of numbers on one line; equal documents give equal bytes.

    Raises:
        DataError: the document breaks its type.
        StorageError: the file could not be written.
    """
    check(document, kind)
    text = json.dumps(ordered(document, kind), indent=2, allow_nan=False, ensure_ascii=False)
    write_text(path, _NUMBER_LIST.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n")


def read_json(path: str | Path, remedy: str) -> Any:
    """Content of a JSON file.

    Raises:
        DataError: the file is missing or no JSON; ``remedy`` says what makes it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; {remedy}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON ({error}); {remedy}.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
