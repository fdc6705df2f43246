"""Figures read from the finished steps, their mean and standard error over seeds, and those over a data set's parts."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vitad_med.experiments.document import Experiment, Metric
from vitad_med.experiments.planning import STEPS, Context, Plan
from vitad_med.experiments.records import read_done, read_failed, step_folder

State = Literal["value", "no figure", "failed", "not run"]


@dataclass(frozen=True, slots=True)
class Result:
    """One metric of one row on one data set with one seed.

    Attributes:
        step: id of the step whose file holds it; empty where the data set's folder is not known.
        state: ``no figure`` is a null with a reason in a finished step's file.
        reason: why there is no value.
    """

    row: str
    data: str
    seed: int
    metric: str
    step: str
    state: State
    value: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric of a row on a data set, over its seeds, or on a divided data set over its parts.

    Attributes:
        mean: of the values that there are; None without any.
        error: standard error of the mean over seeds; None below two values, and over parts.
        deviation: sample standard deviation over parts, each its mean over seeds; None below two parts, and over seeds.
        n: number of values. Seeds that share one run, because nothing in it draws from the seed, count once.
        planned: number of runs, or parts, that there should be.
        state: of the whole: ``value`` when there is any.
        reasons: why values are missing, each once.
    """

    row: str
    data: str
    metric: str
    mean: float | None
    error: float | None
    n: int
    planned: int
    state: State
    reasons: tuple[str, ...]
    deviation: float | None = None


def read_results(plan: Plan, out: Path) -> list[Result]:
    """Every figure that the experiment asks for, in the order of rows, data, seeds and metrics."""
    return [
        _result(plan, out, context, metric)
        for context in plan.contexts
        for metric in plan.experiment.metrics.values()
        if applies(plan.experiment, context, metric)
    ]


def applies(experiment: Experiment, context: Context, metric: Metric) -> bool:
    """Whether a metric is asked for on a row and data set."""
    chain = experiment.chain(context.row, context.data.name)
    return metric.step in chain and (metric.data is None or context.data.name in metric.data)


def figures(results: Sequence[Result]) -> list[Figure]:
    """Mean and standard error (sample standard deviation over the root of n) of results that differ by seed."""
    grouped: dict[tuple[str, str, str], dict[tuple[str, int], Result]] = {}
    for result in results:
        runs = grouped.setdefault((result.row, result.data, result.metric), {})
        runs.setdefault((result.step, -1 if result.step else result.seed), result)
    return [_figure(list(runs.values())) for runs in grouped.values()]


def family_figures(experiment: Experiment, made: Sequence[Figure]) -> list[Figure]:
    """Mean and sample standard deviation over the parts of each divided data set, as one-class papers report them.

    Args:
        made: figures of the parts, by :func:`figures`.
    """
    grouped: dict[tuple[str, str, str], list[Figure]] = {}
    for figure in made:
        data = experiment.data[figure.data]
        if data.part:
            grouped.setdefault((figure.row, data.family, figure.metric), []).append(figure)
    return [_over_parts(family, parts) for (_, family, _), parts in grouped.items()]


def _over_parts(family: str, parts: Sequence[Figure]) -> Figure:
    means = [part.mean for part in parts if part.mean is not None]
    return Figure(
        row=parts[0].row,
        data=family,
        metric=parts[0].metric,
        mean=math.fsum(means) / len(means) if means else None,
        error=None,
        # A part with a run missing is not the figure that it should be.
        n=sum(part.mean is not None and part.n == part.planned for part in parts),
        planned=len(parts),
        state=_worst([part.state for part in parts]),
        reasons=tuple(dict.fromkeys(reason for part in parts for reason in part.reasons)),
        deviation=statistics.stdev(means) if len(means) > 1 else None,
    )


def _worst(states: Sequence[State]) -> State:
    """``value`` where there is any, else what tells most about why there is none."""
    order: tuple[State, ...] = ("value", "failed", "no figure", "not run")
    return next(state for state in order if state in states)


def _figure(runs: Sequence[Result]) -> Figure:
    values = [run.value for run in runs if run.value is not None]
    return Figure(
        row=runs[0].row,
        data=runs[0].data,
        metric=runs[0].metric,
        mean=math.fsum(values) / len(values) if values else None,
        error=statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None,
        n=len(values),
        planned=len(runs),
        state=_worst([run.state for run in runs]),
        reasons=tuple(dict.fromkeys(run.reason for run in runs if run.reason is not None)),
    )


def _result(plan: Plan, out: Path, context: Context, metric: Metric) -> Result:
    step = context.steps.get(metric.step, "")

    def made(state: State, value: float | None = None, reason: str | None = None) -> Result:
        return Result(context.row.name, context.data.name, context.seed, metric.name, step, state, value, reason)

    if not step:
        return made("not run")
    if read_done(out, plan.steps[step]) is None:
        failure = next(_failures(plan, out, step), None)
        return made("not run") if failure is None else made("failed", reason=failure)
    path = step_folder(out, step) / metric.file
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return made(
            "failed",
            reason=f"{metric.file} of {metric.step} is missing or damaged: if the step should write it, remove "
            f"{STEPS}/{step} and repeat the command",
        )
    value, reason = figure_at(document, metric.path)
    if value is not None:
        return made("value", value)
    if reason is not None:
        return made("no figure", reason=reason)
    return made("failed", reason=f"{metric.file} of {metric.step} has no number at {metric.path}")


def _failures(plan: Plan, out: Path, step: str) -> Iterator[str]:
    """Why a step, or one that it needs, failed; the first in the chain first."""
    planned = plan.steps[step]
    for needed in planned.needs.values():
        if read_done(out, plan.steps[needed]) is None:
            yield from _failures(plan, out, needed)
    sentence = read_failed(out, planned)
    if sentence is not None:
        yield f"{planned.name}: {sentence}"


def figure_at(document: Any, path: str) -> tuple[float | None, str | None]:
    """The number at ``key#key`` in a JSON document, or the reason why there is none.

    A null whose neighbour is a key ``reason`` has that reason; a key that is missing, or something other than a number,
    has neither number nor reason.
    """
    parent: Any = None
    value = document
    for part in path.split("#"):
        parent = value
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            return None, None
    if value is None:
        reason = parent.get("reason") if isinstance(parent, Mapping) else None
        return None, str(reason) if reason else "null in the file"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None, None
    return float(value), None
