"""Strict reading of JSON objects: every key known, every value of its kind, each fault one sentence."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vitad_med.errors import ConfigError


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ConfigError: missing, not JSON, not an object, or with a key that occurs twice in one object.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ConfigError(f"'{path}' has the key '{key}' twice in one object: rename or remove one.")
            found[key] = value
        return found

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read ({error.strerror}): give an experiment file.") from error
    except ValueError as error:
        raise ConfigError(f"'{path}' is not JSON ({error}): correct it there.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"'{path}' holds no JSON object: see docs/experiments.md.")
    return content


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names as a question, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known are {', '.join(map(repr, names))}." if names else "there are none."


class Fields:
    """The keys of one JSON object, taken one by one; :meth:`end` refuses those that nobody asked for.

    Args:
        file: what messages call the file.
        where: path of the object in it, e.g. ``steps.train``; empty for the whole.
        content: the object.
    """

    def __init__(self, file: str, where: str, content: Any) -> None:
        self.file = file
        self.where = where
        if not isinstance(content, Mapping):
            self.refuse(None, "an object {...}", content)
        self.content: Mapping[str, Any] = content
        self._known: list[str] = []

    def place(self, key: str | None) -> str:
        """Path of a key in the file."""
        return ".".join(part for part in (self.where, key) if part) or "the file"

    def refuse(self, key: str | None, wanted: str, value: Any) -> Any:
        """Raise the error of a value of the wrong kind."""
        shown = json.dumps(value, default=str)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise ConfigError(f"'{self.file}': {self.place(key)} is {shown}, but must be {wanted}.")

    def raw(self, key: str, default: Any = None) -> Any:
        """A value of any kind."""
        self._known.append(key)
        return self.content.get(key, default)

    def text(self, key: str, default: str | None = None) -> str:
        """Text that is not empty; required without a default."""
        value = self.raw(key, default)
        if not isinstance(value, str) or (not value.strip() and value != default):
            self.refuse(key, "text", value)
        return str(value)

    def optional_text(self, key: str) -> str | None:
        """Text or null."""
        return None if self.raw(key) is None else self.text(key)

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of texts; one text alone counts as a list of one."""
        value = self.raw(key, None if default is None else list(default))
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) and item.strip() for item in items):
            self.refuse(key, "a list of texts", value)
        if len(set(items)) < len(items):
            self.refuse(key, "a list without repetitions", value)
        return tuple(items)

    def whole_numbers(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of different whole numbers from 0 on, at least one."""
        value = self.raw(key, None if default is None else list(default))
        good = isinstance(value, list) and value and all(type(item) is int and item >= 0 for item in value)
        if not good or len(set(value)) < len(value):
            self.refuse(key, "a list of different whole numbers, e.g. [0, 1, 2]", value)
        return tuple(value)

    def number(self, key: str) -> float:
        """A finite number."""
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.refuse(key, "a number", value)
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """A finite number or null."""
        return None if self.raw(key) is None else self.number(key)

    def mapping(self, key: str, default: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """An object with free keys."""
        value = self.raw(key, default)
        if not isinstance(value, Mapping):
            self.refuse(key, "an object {...}", value)
        return dict(value)

    def settings(self, key: str) -> dict[str, dict[str, Any]]:
        """Config values by step and key; none by default. MONAI drops overrides that are null, so none may be."""
        found = self.mapping(key, {})
        for step, values in found.items():
            if not isinstance(values, Mapping):
                self.refuse(f"{key}.{step}", "an object {config key: value}", values)
            self.no_nulls(f"{key}.{step}", values)
        return {step: dict(values) for step, values in found.items()}

    def no_nulls(self, place: str, values: Mapping[str, Any]) -> None:
        """Refuse an override that MONAI would ignore."""
        for name, value in values.items():
            if value is None:
                self.refuse(f"{place}.{name}", "a value; an override cannot be null", value)

    def end(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self.content:
            if key not in self._known:
                raise ConfigError(f"'{self.file}': {self.place(key)} is unknown; {did_you_mean(key, self._known)}")

    def known(self, key: str, names: Iterable[str], known: Iterable[str], kind: str) -> None:
        """Refuse names that refer to nothing."""
        options = list(known)
        for name in names:
            if name not in options:
                raise ConfigError(
                    f"'{self.file}': {self.place(key)} names the {kind} '{name}', which does not exist; "
                    f"{did_you_mean(name, options)}"
                )
