"""What an experiment's settings differ in from the paper's, found by comparing resolved values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitad_med.experiments.planning import Plan


@dataclass(frozen=True, slots=True)
class Difference:
    """One config key that is not the paper's.

    Attributes:
        where: rows or data sets that have our value; None where all that have the step do.
    """

    step: str
    key: str
    ours: Any
    paper: Any
    where: str | None

    @property
    def text(self) -> str:
        """For people, beside the step's name."""
        where = f" ({self.where})" if self.where else ""
        return f"{self.key} {_shown(self.ours)} instead of {_shown(self.paper)}{where}"


def differences(plan: Plan) -> list[Difference]:
    """Each key of ``paper.settings`` whose resolved value is another one, by step, in the order of the file."""
    experiment = plan.experiment
    if experiment.paper is None:
        return []
    found = []
    for step, wanted in experiment.paper.settings.items():
        contexts = [context for context in plan.contexts if step in context.steps]
        for key, value in wanted.items():
            ours: dict[str, tuple[Any, list[tuple[str, str]]]] = {}
            for context in contexts:
                mine = plan.steps[context.steps[step]].compared[key]
                ours.setdefault(repr(mine), (mine, []))[1].append((context.row.label, context.data.title))
            for mine, places in ours.values():
                if mine != value:
                    where = None if len(ours) == 1 else _where(places, [p for _, have in ours.values() for p in have])
                    found.append(Difference(step, key, mine, value, where))
    return found


def not_done(plan: Plan) -> list[str]:
    """Steps that the paper has settings for and no row at this scale does."""
    paper = plan.experiment.paper
    done = {name for context in plan.contexts for name in context.steps}
    return [] if paper is None else [step for step in paper.settings if step not in done]


def _where(places: list[tuple[str, str]], everywhere: list[tuple[str, str]]) -> str:
    """The data sets where they tell the places apart, else the rows, else both."""
    for part in (1, 0):
        mine = dict.fromkeys(place[part] for place in places)
        if not any(place[part] in mine and place not in places for place in everywhere):
            return ", ".join(mine)
    return ", ".join(f"{label} on {data}" for label, data in dict.fromkeys(places))


def _shown(value: Any) -> str:
    return str(value) if not isinstance(value, list) else "[" + ", ".join(map(str, value)) + "]"
