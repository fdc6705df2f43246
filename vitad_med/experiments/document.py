"""An experiment file: what it says, as types. :mod:`vitad_med.experiments.reading` reads and checks one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = "vitad_med/experiment/1"

Overrides = Mapping[str, Mapping[str, Any]]
"""Config values by step and config key."""


@dataclass(frozen=True, slots=True)
class Data:
    """A data set, or one of the parts that the file's ``each`` divides it into.

    Attributes:
        family: its name in the file; that of a part is ``<family>_<part>``.
        part: the value of ``each`` that makes it; empty for a data set that is not divided.
        title: of the whole data set, for people.
        every: config values on it of every step: the key and value of ``each``.
        config: files stacked on a step's own, absolute or relative to the experiment's root.
        dataset_dir: folder, absolute or relative to the root; None must be given by ``--data NAME=DIR``.
        overrides: config values on this data, by step.
        note: printed below the table.
    """

    name: str
    family: str
    part: str
    title: str
    every: Mapping[str, Any]
    config: tuple[str, ...]
    dataset_dir: str | None
    overrides: Overrides
    note: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """One run of a bundle's config.

    Attributes:
        bundle: folder, absolute or relative to the experiment's root.
        config: the bundle's own file (a bare name) and files stacked on it (paths with a slash, likewise).
        overrides: config values; texts may hold ``{seed}``, ``{dataset_dir}``, ``{bundle}`` and ``{step name}``.
        data: data set that this step always uses; None takes the row's.
        only: data sets on which the step is done at all; None is all.
    """

    name: str
    bundle: str
    config: tuple[str, ...]
    overrides: Mapping[str, Any]
    data: str | None
    only: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a chain of steps, each with the row's own overrides.

    Attributes:
        label: shown name; rows with the same label share a line and differ by column.
        columns: groups of columns that the row's figures stand in; empty without groups.
        steps: the chain in its order.
        overrides: config values of this row, by step.
    """

    name: str
    label: str
    columns: tuple[str, ...]
    steps: tuple[str, ...]
    overrides: Overrides
    data: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure read from a JSON file that a step wrote.

    Attributes:
        block: metrics of one block share a table.
        path: keys down to the number, joined by ``#``.
        format: ``.3f`` or ``.1%``, any number of digits.
        data: data sets that have it; None is all.
    """

    name: str
    label: str
    block: str
    step: str
    file: str
    path: str
    format: str
    data: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Reference:
    """A published figure in the unit of its metric.

    ``data`` is a data set, a part of one, or the family of its parts, whose mean it is; None holds on all data sets.
    """

    row: str
    metric: str
    data: str | None
    value: float
    error: float | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Paper:
    """What the figures are compared with.

    Attributes:
        title: short name, heads its column.
        settings: the paper's value of a config key, by step.
        notes: what no key says.
    """

    title: str
    settings: Overrides
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """A whole experiment, at one scale.

    Attributes:
        root: folder that relative names begin at.
        seeds_vary: what differs between runs with different seeds, for people; None is not told.
        fallback: folder of bundles and configs that do not lie in ``root``; None where there is no other.
    """

    file: Path
    root: Path
    fallback: Path | None
    digest: str
    scale: str | None
    title: str
    question: str
    seeds_vary: str | None
    columns: Mapping[str, str]
    data: Mapping[str, Data]
    steps: Mapping[str, Step]
    rows: Mapping[str, Row]
    metrics: Mapping[str, Metric]
    references: tuple[Reference, ...]
    paper: Paper | None
    notes: tuple[str, ...]

    def place(self, name: str) -> Path:
        """A bundle or config by its name in the file; below ``root`` where it lies nowhere."""
        found = self.root / Path(name).expanduser()
        if self.fallback is not None and not found.exists() and (self.fallback / name).exists():
            return self.fallback / name
        return found

    def chain(self, row: Row, data: str) -> tuple[str, ...]:
        """The row's steps on a data set."""
        steps = self.steps
        return tuple(name for name in row.steps if (only := steps[name].only) is None or data in only)

    def overrides(self, row: Row, data: str, step: str) -> dict[str, Any]:
        """Config values of a step: its own, then those of the data set it uses, then the row's."""
        used = self.data[self.steps[step].data or data]
        own = self.steps[step].overrides
        return {**own, **used.every, **used.overrides.get(step, {}), **row.overrides.get(step, {})}

    def families(self) -> dict[str, tuple[Data, ...]]:
        """Data sets by their name in the file, each with its parts, or alone where it is not divided."""
        found: dict[str, tuple[Data, ...]] = {}
        for data in self.data.values():
            found[data.family] = (*found.get(data.family, ()), data)
        return found
