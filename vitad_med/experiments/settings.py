"""The configuration that a step really runs with, checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from vitad_med.bundles.provenance import publishable
from vitad_med.bundles.strict import check_keys, declared_config
from vitad_med.bundles.tracking import PATH_KEYS
from vitad_med.bundles.values import check_types
from vitad_med.data.registry import PUBLIC_SOURCES
from vitad_med.errors import ConfigError

_MODEL_FILE = re.compile(r"/models/([\w.\-]+)")
_MAX_LINKS = 20


def merged_config(files: Sequence[Path], overrides: Mapping[str, Any], own: int) -> dict[str, Any]:
    """What MONAI makes of stacked files and overrides, with the checks that ``bundles.start`` does at the start.

    Args:
        files: the bundle's own first.
        overrides: value by key, ``block#key`` inside a block.
        own: how many of the files are the bundle's own.

    Raises:
        ConfigError: a file is missing, or a key or type is not the bundle's.
    """
    for file in files[own:]:
        if not file.is_file():
            raise ConfigError(f"'{file}' does not exist: correct the name")
    declared = declared_config(files[:own])
    try:
        parser = ConfigParser(ConfigParser.load_config_files([str(file) for file in files]))
        parser.update(pairs=dict(overrides))
        parser.resolve_macro_and_relative_ids()
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ConfigError(f"'{files[0].name}' does not take these settings: {str(error).splitlines()[0]}") from error
    given = {key: value for key, value in parser.get().items() if key != ConfigParser.meta_key}
    bundle = files[0].parent.parent.name
    check_keys(declared, given, config_name=f"'{bundle}/configs/{files[0].name}'", files=files[own:])
    check_types(declared, given)
    return given


def declared_keys(files: Sequence[Path]) -> frozenset[str]:
    """Top-level keys of the bundle's own config files."""
    return frozenset(declared_config(files))


def default_models(config: Mapping[str, Any], bundle: Path) -> list[Path]:
    """Files below the bundle's ``models`` that the configuration names, such as a default ``model.pt``."""
    names = {name for text in _texts(config) for name in _MODEL_FILE.findall(text)}
    return [path for name in sorted(names) if (path := bundle / "models" / name).is_file()]


def setting(config: Mapping[str, Any], key: str) -> Any:
    """The value at ``block#key``, with ``@references`` followed; a ``$`` expression is given as its text.

    Raises:
        KeyError: there is no such key.
    """
    value: Any = config
    for part in key.split("#"):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            raise KeyError(key)
    for _ in range(_MAX_LINKS):
        if not (isinstance(value, str) and value.startswith("@")):
            break
        value = setting(config, value[1:].replace("::", "#"))
    return value


def plain_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Resolved numbers, texts and truth values of a configuration by key, those inside blocks as ``block#key``.

    What wires objects is left out. Fit to be published: no rooted path, and of data that are not public no folder.
    """
    found: dict[str, Any] = {}
    for key, value in _leaves(config, ()):
        try:
            value = setting(config, key) if isinstance(value, str) and value.startswith("@") else value
        except KeyError:
            continue
        if isinstance(value, (Mapping, list)) and _wires(value):
            continue
        if isinstance(value, str) and value.startswith("$"):
            continue
        found[key] = publishable(value)
    if config.get("data") not in PUBLIC_SOURCES:
        found |= {key: "withheld" for key in found if key.split("_")[-1] in ("dir", "file") or key in PATH_KEYS}
    return found


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Scalars and lists of scalars; references to whole objects are no settings, so only one level of blocks counts."""
    for key, item in value.items():
        if key.startswith("_") or key in ("imports", "initialize", "run", "finalize", "handlers", "key_metric"):
            continue
        here = (*path, key)
        if isinstance(item, Mapping):
            if not path:
                yield from _leaves(item, here)
        elif path and isinstance(item, str) and item.startswith("@"):
            continue  # inside a block, a reference repeats a key that is told already
        elif not isinstance(item, list) or all(isinstance(part, (int, float, str)) for part in item):
            yield "#".join(here), item


def _wires(value: Any) -> bool:
    """Whether a value holds anything but scalars."""
    return isinstance(value, Mapping) or any(isinstance(part, (Mapping, list)) for part in value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
