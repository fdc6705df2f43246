"""The first step of every bundle config: check what the user gave before anything is built or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from vitad_med.bundles.errors import RESUME, install_error_hook, is_bundle_program
from vitad_med.bundles.running import run_arguments, running_parser
from vitad_med.bundles.strict import check_keys, declared_config
from vitad_med.bundles.values import RULES, check_types, check_values
from vitad_med.errors import ConfigError


def start(
    bundle_root: str,
    config: str | Sequence[str],
    choices: Mapping[str, Sequence[Any]] | None = None,
    resume: str = RESUME,
) -> None:
    """Refuse mistyped keys and impossible values; make errors readable where MONAI's command line is the program.

    The first item of a config's ``initialize`` list::

        {"_target_": "vitad_med.bundles.start", "bundle_root": "@bundle_root", "config": "train.json"}

    Args:
        bundle_root: the bundle's folder.
        config: the bundle's own config file or files below ``configs/``. The merged config may hold no key that these
            lack; data set files and overrides only change values.
        choices: allowed values of top-level keys, e.g. ``{"blend": ["paste", "poisson"]}``.
        resume: sentence printed after Ctrl-C.

    Raises:
        ConfigError: names the key or file and the remedy.
    """
    if is_bundle_program():
        install_error_hook(resume)
    parser = running_parser()
    if parser is None:
        raise ConfigError("vitad_med.bundles.start belongs in the 'initialize' list of a bundle config")
    names = [config] if isinstance(config, str) else list(config)
    own_files = [Path(bundle_root) / "configs" / name for name in names]
    declared = declared_config(own_files)
    given = {key: value for key, value in parser.get().items() if key != ConfigParser.meta_key}
    arguments = run_arguments()
    for key in arguments.dropped:
        raise ConfigError(f"--{key} None would be ignored by MONAI: write the text 'none', or another value")
    own = {file.resolve() for file in own_files}
    stacked = [file for file in arguments.files if file.resolve() not in own]
    check_keys(declared, given, config_name=f"'{Path(bundle_root).name}/configs/{names[0]}'", files=stacked)
    check_types(declared, given)
    # A key that the bundle leaves null is optional, so null is a valid value of it.
    optional = {key for key, value in declared.items() if value is None and given[key] is None}
    wanted = ({*RULES, "architecture", *(choices or {})} & given.keys()) - optional
    check_values({key: parser.get_parsed_content(key) for key in sorted(wanted)}, choices)
