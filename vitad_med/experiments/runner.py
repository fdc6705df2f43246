"""Runs what is missing of an experiment, and keeps its tables up to date."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitad_med.durations import duration
from vitad_med.errors import ConfigError
from vitad_med.experiments import tracking
from vitad_med.experiments.lock import locked
from vitad_med.experiments.planning import Plan
from vitad_med.experiments.records import read_done, step_folder
from vitad_med.experiments.running import run_step
from vitad_med.experiments.store import write_results
from vitad_med.experiments.tables import Tables

Say = Callable[[str], Any]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        failures: sentence by id of the step.
        unread: figures that a finished step should have written and did not.
    """

    tables: Tables
    failures: dict[str, str] = field(default_factory=dict)
    unread: int = 0


def missing_steps(plan: Plan, out: Path | None) -> list[str]:
    """Ids of the steps to run, in order: those that a chosen row is there for, and what these need, unless finished.

    What only finished steps needed is not done again, so that large intermediate results may be deleted. Without a
    folder nothing is finished.
    """
    wanted: set[str] = set()

    def want(step: str) -> None:
        if step not in wanted and (out is None or read_done(out, plan.steps[step]) is None):
            wanted.add(step)
            for needed in plan.steps[step].needs.values():
                want(needed)

    for context in plan.contexts:
        if context.row.name in plan.rows:
            for step in plan.targets(context):
                want(step)
    return [step for step in plan.steps if step in wanted]


def run(plan: Plan, out: Path, tracking_uri: str, say: Say) -> Outcome:
    """Run the missing steps one after another; the tables are written after each.

    Args:
        plan: what there is to do.
        out: folder of the results; one runner at a time.
        tracking_uri: ``sqlite`` (a file in ``out``), ``none``, or a URI.
        say: takes each line of progress.

    Raises:
        ConfigError: another runner works in the folder, it lies in a data set, or the tracking store cannot be opened.
        StorageError: the disk is full or not to be written to.
    """
    for planned in plan.steps.values():
        if out.resolve().is_relative_to(planned.dataset_dir):
            raise ConfigError(
                f"'{out}' lies in the data set's folder '{planned.dataset_dir}', which results would change: "
                "give --out another folder."
            )
    with locked(out):
        missing = missing_steps(plan, out)
        uri = tracking.prepare(tracking_uri, out, plan)
        say(f"{len(missing)} of {len(plan.steps)} steps to run; logs in {out}/steps/*/log.txt")
        failures: dict[str, str] = {}
        seconds = known_seconds(plan, out)
        for number, step in enumerate(missing, 1):
            planned = plan.steps[step]
            prefix = f"[{number}/{len(missing)}] {step}: {planned.title}"
            blocked = next((needed for needed in planned.needs.values() if needed in failures), None)
            if blocked is not None:
                failures[step] = f"needs {blocked}, which failed"
                say(f"{prefix}: left out, {failures[step]}")
                continue
            say(f"{prefix} ...{time_left(plan, missing[number - 1 :], seconds)}")
            began = time.monotonic()
            failure = run_step(planned, out, uri, plan.experiment.title)
            if failure is None:
                seconds.setdefault(planned.name, []).append(time.monotonic() - began)
            else:
                failures[step] = failure
                say(f"    failed: {failure} (log: {step_folder(out, step) / 'log.txt'})")
            write_results(plan, out)
        results, figures, tables = write_results(plan, out)
        tracking.log_table(uri, out, plan, figures)
    chosen = [result for result in results if result.row in plan.rows]
    unread = sum(result.state == "failed" and result.step not in failures for result in chosen)
    return Outcome(tables, failures, unread)


def known_seconds(plan: Plan, out: Path) -> dict[str, list[float]]:
    """Seconds that finished steps took, by name of the step."""
    found: dict[str, list[float]] = {}
    for planned in plan.steps.values():
        done = read_done(out, planned)
        if done is not None:
            found.setdefault(planned.name, []).append(float(done["seconds"]))
    return found


def time_left(plan: Plan, steps: list[str], seconds: dict[str, list[float]]) -> str:
    """`` about 12 min left``, from the mean time of steps of the same name; nothing before any step was timed."""
    known = [value for values in seconds.values() for value in values]
    if not known:
        return ""
    total = 0.0
    guessed = False
    for step in steps:
        own = seconds.get(plan.steps[step].name)
        guessed |= own is None
        total += sum(own or known) / len(own or known)
    return f" about {duration(total)} left{' (a guess)' if guessed else ''}"
