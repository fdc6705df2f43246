"""From an experiment to the steps that it takes: each named by a digest of everything that decides its result."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitad_med import __version__
from vitad_med.bundles.provenance import publishable
from vitad_med.data.registry import PUBLIC_SOURCES
from vitad_med.digests import config_digest
from vitad_med.errors import ConfigError
from vitad_med.experiments.contents import by_content, content, folder_digest
from vitad_med.experiments.document import Data, Experiment, Row
from vitad_med.experiments.fields import did_you_mean
from vitad_med.experiments.placeholders import fill, names_in
from vitad_med.experiments.settings import declared_keys, default_models, merged_config, plain_settings, setting

STEPS = "steps"
ID_DIGITS = 12


@dataclass(frozen=True)
class PlannedStep:
    """One run of a bundle config, shared by all rows that need the same.

    Attributes:
        id: ``<name>-<12 digits of digest>``, the name of its folder.
        digest: SHA-256 of ``inputs``.
        inputs: everything that decides the result, as plain values: contents of files and folders by their digests,
            and no path of this machine.
        bundle: the bundle's folder.
        files: config files in the order of stacking.
        overrides: config values; ``{step}`` stands where a folder of another step belongs.
        needs: id by step name.
        dataset_dir: folder of the images.
        settings: resolved settings, fit to be published.
        compared: of the keys that the paper's settings name, our value.
        declared: top-level keys of the bundle's own config.
        public: whether the data are a published data set, whose names may be told.
        title: the first row, data set and seed that need it.
    """

    id: str
    name: str
    digest: str
    inputs: Mapping[str, Any]
    bundle: Path
    files: tuple[Path, ...]
    overrides: Mapping[str, Any]
    needs: Mapping[str, str]
    dataset_dir: Path
    settings: Mapping[str, Any]
    compared: Mapping[str, Any]
    declared: frozenset[str]
    public: bool
    title: str

    def arguments(self, out: Path) -> dict[str, Any]:
        """The overrides with the folders of the steps that they name."""
        folders = {name: str(out / STEPS / needed) for name, needed in self.needs.items()}
        return dict(fill(dict(self.overrides), folders))


@dataclass(frozen=True)
class Context:
    """A row on a data set with a seed, and the ids of its steps; none where the data set's folder is unknown."""

    row: Row
    data: Data
    seed: int
    steps: Mapping[str, str]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.row.name}, {self.data.name}, seed {self.seed}"


@dataclass
class Plan:
    """All steps by id, in an order in which they can be run, and the contexts that need them.

    Attributes:
        rows: names of the rows to run; the others stand in the tables too.
        folders: digest by data set's folder, each made once.
    """

    experiment: Experiment
    rows: tuple[str, ...]
    steps: dict[str, PlannedStep] = field(default_factory=dict)
    contexts: list[Context] = field(default_factory=list)
    folders: dict[Path, str] = field(default_factory=dict)

    def folder(self, path: Path) -> str:
        """Digest of a data set's folder as it was when it was first asked for."""
        if path not in self.folders:
            self.folders[path] = folder_digest(path)
        return self.folders[path]

    def targets(self, context: Context) -> list[str]:
        """Ids of the steps whose results the context is there for: metrics read them, or no other step uses them."""
        read = {metric.step for metric in self.experiment.metrics.values()}
        used = {name for step in context.steps.values() for name in self.steps[step].needs}
        return [step for name, step in context.steps.items() if name in read or name not in used]


def plan(experiment: Experiment, folders: Mapping[str, str], rows: tuple[str, ...] | None = None) -> Plan:
    """Resolve and check every step of the chosen rows.

    Args:
        experiment: as read.
        folders: dataset_dir by data set, given on the command line.
        rows: names of those to run; None takes all.

    Raises:
        ConfigError: a config key or data folder is wrong; names the step and the remedy.
    """
    for name in folders:
        if name not in experiment.families():
            raise ConfigError(f"--data {name}: no such data set; {did_you_mean(name, experiment.families())}")
    for name in rows or ():
        if name not in experiment.rows:
            raise ConfigError(f"--rows {name}: no such row; {did_you_mean(name, experiment.rows)}")
    made = Plan(experiment, tuple(experiment.rows) if rows is None else rows)
    for row in experiment.rows.values():
        for name in row.data:
            chosen = row.name in made.rows
            chain = experiment.chain(row, name)
            sources = {experiment.steps[step].data or name for step in chain}
            known = chosen or all(_has_folder(experiment, experiment.data[source], folders) for source in sources)
            for seed in row.seeds:
                steps: dict[str, str] = {}
                for step in chain if known else ():
                    planned = _planned(made, row, name, seed, step, steps, folders)
                    made.steps.setdefault(planned.id, planned)
                    steps[step] = planned.id
                made.contexts.append(Context(row, experiment.data[name], seed, steps))
    return made


def _planned(
    made: Plan,
    row: Row,
    data: str,
    seed: int,
    name: str,
    earlier: Mapping[str, str],
    folders: Mapping[str, str],
) -> PlannedStep:
    experiment = made.experiment
    step = experiment.steps[name]
    source = experiment.data[step.data or data]
    bundle = experiment.place(step.bundle)
    if not (bundle / "configs").is_dir():
        places = " or ".join(f"'{place}'" for place in (experiment.root, experiment.fallback) if place is not None)
        raise ConfigError(
            f"'{experiment.file}': steps.{name}.bundle is '{step.bundle}', but there is no bundle of that name in "
            f"{places}: correct it, or repeat the command in the folder that holds it."
        )
    files = tuple(_config_path(experiment, bundle, config) for config in (*step.config, *source.config))
    dataset_dir = _dataset_dir(experiment, source, folders)
    written = experiment.overrides(row, data, name)
    needs = {other: earlier[other] for other in dict.fromkeys(names_in(written)) if other in earlier}
    here = {"seed": seed, "dataset_dir": str(dataset_dir), "bundle": str(bundle)}
    overrides = fill(written, here)
    try:
        own = len(list(itertools.takewhile(lambda config: "/" not in config, step.config)))
        shown = fill(overrides, {other: f"{STEPS}/{needed}" for other, needed in needs.items()})
        config = merged_config(files, {**shown, "dataset_dir": str(dataset_dir)}, own)
    except ConfigError as error:
        raise ConfigError(f"'{experiment.file}': step '{name}' in row '{row.name}' on '{data}': {error}") from None
    compared = _compared(experiment, name, config)
    # An absolute bundle is known by its name: its files are listed below.
    named = bundle.name if Path(step.bundle).expanduser().is_absolute() else step.bundle
    results = {other: f"step:{made.steps[needed].digest}" for other, needed in needs.items()}
    inputs = {
        "bundle": named,
        "configs": [[file.name, content(file)] for file in files],
        "overrides": by_content(written, here, {"seed": seed, "bundle": named, **results}, made.folder),
        "models": [[file.name, content(file)] for file in default_models(config, bundle)],
        "data": source.name,
        "dataset": made.folder(dataset_dir),
        "vitad_med": __version__,
    }
    digest = config_digest(inputs)
    return PlannedStep(
        id=f"{name}-{digest[:ID_DIGITS]}",
        name=name,
        digest=digest,
        inputs=inputs,
        bundle=bundle,
        files=files,
        overrides=overrides,
        needs=needs,
        dataset_dir=dataset_dir,
        settings=plain_settings(config),
        compared=compared,
        declared=declared_keys(files[:own]),
        public=config.get("data") in PUBLIC_SOURCES,
        title=f"{row.name}, {data}, seed {seed}",
    )


def _config_path(experiment: Experiment, bundle: Path, config: str) -> Path:
    return experiment.place(config) if "/" in config else bundle / "configs" / config


def _has_folder(experiment: Experiment, data: Data, folders: Mapping[str, str]) -> bool:
    try:
        _dataset_dir(experiment, data, folders)
    except ConfigError:
        return False
    return True


def _dataset_dir(experiment: Experiment, data: Data, folders: Mapping[str, str]) -> Path:
    given = folders.get(data.family)
    folder = Path(given).expanduser().resolve() if given is not None else None
    if folder is None and data.dataset_dir is not None:
        folder = (experiment.root / Path(data.dataset_dir).expanduser()).resolve()
    if folder is None:
        raise ConfigError(
            f"'{experiment.file}' does not say where '{data.family}' lies: give --data {data.family}=DIR, "
            "or name other rows with --rows."
        )
    if not folder.is_dir():
        raise ConfigError(f"the folder '{folder}' of '{data.family}' does not exist: give --data {data.family}=DIR.")
    return folder


def _compared(experiment: Experiment, step: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Our value of each key that the paper's settings name."""
    wanted = experiment.paper.settings.get(step, {}) if experiment.paper is not None else {}
    found = {}
    for key in wanted:
        try:
            found[key] = publishable(setting(config, key))
        except KeyError:
            raise ConfigError(
                f"'{experiment.file}': paper.settings.{step}.{key} is no key of that step's config: correct it."
            ) from None
    return found
