"""Refuses configuration keys that the bundle's own config does not declare.

MONAI adds an unknown override to the config and runs on: ``--epoch 1`` is ignored with exit status 0. Here the merged
config, overrides and stacked files included, may hold no id that the bundle's config files lack. Allowed additions:
top-level keys that start with an underscore, and inside a component MONAI's own ``_disabled_``, ``_requires_``,
``_desc_`` and ``_mode_``. A component whose ``_target_`` is replaced brings its own arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from vitad_med.bundles.running import RUN_OPTIONS
from vitad_med.errors import ConfigError

COMPONENT_KEYS = frozenset({"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"})
TRACKING_FLAG_KEYS = frozenset({"is_not_rank0", "save_execute_config"})
SEPARATOR = "#"


def declared_config(files: Sequence[Path]) -> dict[str, Any]:
    """The content of the bundle's own config files, merged as MONAI merges them, macros resolved.

    Raises:
        ConfigError: a file is missing or is not JSON/YAML.
    """
    for file in files:
        if not file.is_file():
            raise ConfigError(
                f"bundle_root has no '{file.parent.name}/{file.name}': "
                "give --bundle_root the bundle's folder, e.g. bundles/attn_synth"
            )
    try:
        parser = ConfigParser(ConfigParser.load_config_files([str(file) for file in files]))
        parser.resolve_macro_and_relative_ids()
    except (ValueError, KeyError) as error:
        raise ConfigError(f"cannot read '{files[-1]}': {str(error).splitlines()[0]}") from error
    return dict(parser.get())


def check_keys(
    declared: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    config_name: str = "the bundle's config",
    files: Sequence[Path] = (),
) -> None:
    """Compare the merged config with the declared one.

    Args:
        declared: what the bundle's config files hold.
        given: the merged config: files, stacked files and overrides.
        config_name: how the message calls the declared config.
        files: config files the user stacked on the bundle's own, to say which of them holds a wrong key.

    Raises:
        ConfigError: an unknown key, or a block that lost keys because a nested value replaced it whole.
    """
    if set(given) - set(declared) >= TRACKING_FLAG_KEYS:
        raise ConfigError(
            "MONAI's --tracking is not used here, tracking is on already: set --tracking_uri to 'sqlite', to a "
            "server's URI or to 'none'"
        )
    for problem, path in _differences(declared, given, ()):
        name, block = SEPARATOR.join(path), SEPARATOR.join(path[:-1])
        source = _source(path, files)
        if problem == "unknown":
            what = f"'{source}' sets '{name}'" if source else f"unknown option '--{name}'"
            raise ConfigError(f"{what}: {config_name} has no such key; {_suggestion(path, declared)}")
        if problem == "replaced":
            what = f"'{source}'" if source else f"'--{name}'"
            raise ConfigError(f"{what} puts one value in place of the block '{name}': set its keys, '{name}#KEY'")
        if not block:
            raise ConfigError(f"the config files lack '{name}': give {config_name} first in --config_file")
        blame = _source(path[:-1], files)
        what = f"'{blame}'" if blame else f"'--{block}'"
        raise ConfigError(
            f"{what} replaces the whole block '{block}' and loses '{path[-1]}': set its keys one by one, '{block}#KEY'"
        )


def _differences(declared: Any, given: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(declared, list) and isinstance(given, list):
        for index, (old, new) in enumerate(zip(declared, given, strict=False)):
            if isinstance(old, dict) and isinstance(new, dict) and old.get("_target_") == new.get("_target_"):
                yield from _differences(old, new, (*path, str(index)))
        return
    if not isinstance(declared, Mapping):
        return
    component = "_target_" in declared
    if not isinstance(given, Mapping):
        if not component and not _is_reference(given):
            yield "replaced", path
        return
    if component and given.get("_target_") != declared["_target_"]:
        return
    for key, value in given.items():
        if key in declared:
            yield from _differences(declared[key], value, (*path, key))
        elif not _may_be_added(key, path, component):
            yield "unknown", (*path, key)
    for key in declared:
        if key not in given:
            yield "lost", (*path, key)


def _may_be_added(key: str, path: tuple[str, ...], component: bool) -> bool:
    if component:
        return key in COMPONENT_KEYS
    return not path and key.startswith("_")


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("$", "@"))


def _suggestion(path: tuple[str, ...], declared: Mapping[str, Any]) -> str:
    """``did you mean '--epochs'?`` or the keys that exist at that place."""
    siblings: Any = declared
    for key in path[:-1]:
        siblings = siblings[int(key)] if isinstance(siblings, list) else siblings[key]
    names = [key for key in siblings if not key.startswith("_")]
    options = names if path[:-1] else [*names, *RUN_OPTIONS]
    close = difflib.get_close_matches(path[-1], options, n=1, cutoff=0.6)
    if close:
        return f"did you mean '--{SEPARATOR.join((*path[:-1], close[0]))}'?"
    if path[:-1]:
        return f"'{SEPARATOR.join(path[:-1])}' has {', '.join(names)}"
    settings = [key for key in names if not isinstance(siblings[key], (dict, list))]
    return f"its settings are {', '.join(settings)}"


def _source(path: tuple[str, ...], files: Sequence[Path]) -> str | None:
    """The last config file that sets ``path``, or a part or parent of it."""
    for file in reversed(files):
        try:
            content = ConfigParser.load_config_file(file)
        except (OSError, ValueError):
            continue
        for key, value in content.items():
            keys = tuple(ReferenceResolver.split_id(key.removeprefix("+")))
            if keys == path[: len(keys)] and _holds(value, path[len(keys) :]):
                return str(file)
    return None


def _holds(value: Any, rest: tuple[str, ...]) -> bool:
    for key in rest:
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, Mapping) and key in value:
            value = value[key]
        else:
            return False
    return True
