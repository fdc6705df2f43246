"""``{name}`` in the values of an experiment file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

OWN = ("seed", "dataset_dir", "bundle")
_NAME = re.compile(r"\{([A-Za-z_]\w*)\}")


def names_in(value: Any) -> Iterator[str]:
    """Names of all placeholders in a value, at any depth."""
    if isinstance(value, str):
        yield from _NAME.findall(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from names_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from names_in(item)


def fill(value: Any, names: Mapping[str, Any]) -> Any:
    """A copy with the placeholders replaced; a text that is nothing but one takes the value's own type.

    Args:
        value: plain JSON values.
        names: value by name; a placeholder that it lacks stays.
    """
    if isinstance(value, str):
        whole = _NAME.fullmatch(value)
        if whole and whole[1] in names:
            return names[whole[1]]
        return _NAME.sub(lambda found: str(names.get(found[1], found[0])), value)
    if isinstance(value, Mapping):
        return {key: fill(item, names) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill(item, names) for item in value]
    return value
