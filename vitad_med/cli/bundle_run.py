"""A bundle's config run inside a command that has words of its own: what the run says is left out."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vitad_med.errors import ConfigError, VitadError

RUN_KEYS = frozenset({"bundle_root", "logging_file"})
"""Keys that :func:`run_quietly` sets."""


def bundle_config(bundle: str, name: str) -> Path:
    """The config of a bundle that an option named.

    Raises:
        ConfigError: there is none.
    """
    config = Path(bundle).expanduser().resolve() / "configs" / name
    if not config.is_file():
        raise ConfigError(f"--bundle {bundle} has no configs/{name}; give e.g. bundles/attn_synth.")
    return config


def given_keys(words: Sequence[str], own: dict[str, Any]) -> dict[str, Any]:
    """KEY=VALUE options as config overrides; a value is read as JSON where it is JSON, else as text.

    Args:
        words: what ``--set`` was given.
        own: overrides that the command makes itself, which ``--set`` may not change.

    Raises:
        ConfigError: a word is no KEY=VALUE, or sets one of ``own``.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {word}: write KEY=VALUE, e.g. image_size=224.")
        if key in own or key in RUN_KEYS:
            raise ConfigError(f"--set {key}: this command sets that key itself; leave it out.")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def run_quietly(config: Path, data: str | None, overrides: dict[str, Any], progress: tuple[str, str]) -> None:
    """Run a bundle's config in this process; of what it says, only how far it is reaches the terminal.

    Args:
        config: ``BUNDLE/configs/NAME.json``.
        data: name of the data source, whose file beside the bundles is stacked on the config; None is the config's own.
        overrides: by key.
        progress: name of a logger, and how its lines about progress begin.

    Raises:
        VitadError: what the run raised, its message in one sentence.
    """
    from monai.bundle import run as run_bundle  # MONAI takes seconds to import; --help does not wait for it

    from vitad_med.bundles.errors import plain_errors, sentence

    files = [str(config)]
    # What else belongs to a data source, such as the channels of MVTec AD, is in its own file beside the bundles.
    source = config.parents[3] / "configs" / "datasets" / f"{data}.json"
    files += [str(source)] if source.is_file() else []
    metadata = config.parent / "metadata.json"  # MONAI does not find it by itself when a second file is stacked
    # The bundle's own logging would tell every step.
    settings = {"bundle_root": str(config.parents[1]), "logging_file": False, **overrides}
    try:
        with plain_errors(), warnings.catch_warnings(), _progress_alone(*progress):
            # MONAI warns that a config can run code; the user named this one.
            warnings.filterwarnings("ignore", message="parsing config_file")
            run_bundle(config_file=files, meta_file=str(metadata), **settings)
    except VitadError as error:
        raise type(error)(sentence(error)) from None


@contextlib.contextmanager
def _progress_alone(name: str, beginning: str) -> Iterator[None]:
    """How far the run is, on stderr; not its tables, nor the settings, whose folders may be named after patients."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: record.msg.startswith(beginning))
    progress = logging.getLogger(name)
    # MONAI prints the settings, and warns that there is no logging file and that data sources lie elsewhere.
    silenced = [logging.getLogger(f"monai.bundle.{module}") for module in ("scripts", "workflows")]
    levels = [logger.level for logger in (progress, *silenced)]
    progress.addHandler(handler)
    progress.setLevel(logging.INFO)
    for logger in silenced:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        progress.removeHandler(handler)
        for logger, level in zip((progress, *silenced), levels, strict=True):
            logger.setLevel(level)
