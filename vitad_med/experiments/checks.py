"""Whether the names in an experiment file refer to something."""

from __future__ import annotations

from vitad_med.errors import ConfigError
from vitad_med.experiments.document import Experiment, Row
from vitad_med.experiments.fields import Fields, did_you_mean
from vitad_med.experiments.placeholders import OWN, names_in

RUNNER_KEYS = ("bundle_root", "dataset_dir", "output_dir", "tracking_uri", "experiment", "run_name")
"""Config keys that the runner sets itself."""


def check_references(top: Fields, experiment: Experiment) -> None:
    """Every name that the file mentions is defined in it, and each chain of steps can be run in its order.

    Raises:
        ConfigError: names the key, the name and the remedy.
    """
    data, steps, rows, metrics = experiment.data, experiment.steps, experiment.rows, experiment.metrics
    for key, title in experiment.columns.items():
        if not isinstance(title, str):
            top.refuse(f"columns.{key}", "text", title)
    for item in data.values():
        top.known(f"data.{item.name}.overrides", item.overrides, steps, "step")
    for step in steps.values():
        top.known(f"steps.{step.name}.data", [step.data] if step.data else [], data, "data set")
        top.known(f"steps.{step.name}.only", step.only or (), data, "data set")
    for row in rows.values():
        top.known(f"rows.{row.name}.steps", row.steps, steps, "step")
        top.known(f"rows.{row.name}.overrides", row.overrides, row.steps, "step")
        top.known(f"rows.{row.name}.data", row.data, data, "data set")
        top.known(f"rows.{row.name}.column", row.columns, experiment.columns, "column")
        if experiment.columns and not row.columns:
            top.refuse(f"rows.{row.name}.column", f"one of {', '.join(map(repr, experiment.columns))}", None)
    _check_places(top, experiment)
    for row in rows.values():
        for name in row.data:
            _check_chain(top, experiment, row, name)
    for metric in metrics.values():
        top.known(f"metrics.{metric.name}.step", [metric.step], steps, "step")
        top.known(f"metrics.{metric.name}.data", metric.data or (), data, "data set")
    if experiment.paper is not None:
        top.known("paper.settings", experiment.paper.settings, steps, "step")
    for index, one in enumerate(experiment.references):
        place = f"paper.figures[{index}]"
        top.known(f"{place}.row", [one.row], rows, "row")
        top.known(f"{place}.metric", [one.metric], metrics, "metric")
        top.known(f"{place}.data", [one.data] if one.data else [], [*data, *experiment.families()], "data set")


def _check_places(top: Fields, experiment: Experiment) -> None:
    """No two rows share a line of the table, a column and a data set."""
    taken: dict[tuple[str, str, str], str] = {}
    for row in experiment.rows.values():
        for data in row.data:
            for column in row.columns or ("",):
                other = taken.setdefault((row.label, column, data), row.name)
                if other != row.name:
                    raise ConfigError(
                        f"'{top.file}': rows.{row.name} and rows.{other} have the same label '{row.label}'"
                        f"{f', column {column!r}' if column else ''} and data '{data}': give one another label."
                    )


def _check_chain(top: Fields, experiment: Experiment, row: Row, data: str) -> None:
    """Placeholders name something, steps that they name come earlier, and no override is the runner's own key."""
    chain = experiment.chain(row, data)
    if not chain:
        raise ConfigError(f"'{top.file}': rows.{row.name} has no step on '{data}': see 'only' of its steps.")
    for index, step in enumerate(chain):
        overrides = experiment.overrides(row, data, step)
        where = f"'{top.file}': step '{step}' in row '{row.name}' on '{data}'"
        for key in overrides:
            if key.split("#")[0] in RUNNER_KEYS:
                raise ConfigError(f"{where} sets '{key}', which the experiment runner sets itself: leave it out.")
        for name in names_in(overrides):
            if name in experiment.steps and name not in chain[:index]:
                raise ConfigError(
                    f"{where} needs the result of '{name}', which does not come before it: put '{name}' into the "
                    f"row's steps before '{step}', or override the value for this row or data set."
                )
            if name not in experiment.steps and name not in OWN:
                raise ConfigError(f"{where} has '{{{name}}}'; {did_you_mean(name, [*OWN, *chain[:index]])}")
