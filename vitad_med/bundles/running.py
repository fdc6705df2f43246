"""The configuration that MONAI is evaluating at this moment.

A component or expression in a config receives only the values it refers to; MONAI hands it neither the parser nor the
overrides. Every evaluation runs inside ``ConfigParser.get_parsed_content``, so the parser is on the call stack: reading
it there works the same for ``python -m monai.bundle run``, ``run_workflow``, ``ConfigWorkflow`` and a bare parser, and
needs no change of MONAI.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.scripts import create_workflow, run
from monai.utils import ensure_tuple

# What `run` and the workflow take for themselves; everything else given to them is an override.
RUN_OPTIONS = tuple(
    name
    for function in (run, create_workflow, ConfigWorkflow.__init__)
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and name != "self"
)


@dataclass(frozen=True)
class RunArguments:
    """What the user gave to ``monai.bundle run``.

    Attributes:
        files: config files in the order of stacking; empty where MONAI does not tell (``ConfigWorkflow`` from Python).
        dropped: overrides that MONAI ignores because their value is ``None``.
    """

    files: tuple[Path, ...] = ()
    dropped: tuple[str, ...] = ()


def _callers() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def running_parser() -> ConfigParser | None:
    """The parser whose content is being evaluated, or None outside of any config."""
    for frame in _callers():
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigParser):
            return owner
    return None


def run_arguments() -> RunArguments:
    """Config files and ignored overrides of the ``monai.bundle run`` that is under way; empty outside of one."""
    for frame in _callers():
        if frame.f_code is create_workflow.__code__:
            given: dict[str, Any] = frame.f_locals
            files = given.get("config_file") or ()
            overrides = given.get("kwargs") or {}
            return RunArguments(
                files=tuple(Path(str(file)) for file in ensure_tuple(files)),
                dropped=tuple(key for key, value in overrides.items() if value is None and key not in RUN_OPTIONS),
            )
    return RunArguments()
