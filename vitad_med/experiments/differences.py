"""What an experiment's settings differ in from the paper's, found by comparing resolved values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitad_med.experiments.document import Experiment
from vitad_med.experiments.planning import Context, Plan


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
        everywhere = [_place(experiment, context) for context in contexts]
        for key, value in wanted.items():
            ours: dict[str, tuple[Any, list[tuple[str, str]]]] = {}
            for context, place in zip(contexts, everywhere, strict=True):
                mine = plan.steps[context.steps[step]].compared[key]
                ours.setdefault(repr(mine), (mine, []))[1].append(place)
            for mine, places in ours.values():
                if mine != value:
                    found.append(Difference(step, key, mine, value, _where(places, everywhere)))
    return found


def not_done(plan: Plan) -> list[str]:
    """Steps that the paper has settings for and no row at this scale does."""
    paper = plan.experiment.paper
    done = {name for context in plan.contexts for name in context.steps}
    return [] if paper is None else [step for step in paper.settings if step not in done]


def _place(experiment: Experiment, context: Context) -> tuple[str, str]:
    """Row and data set for people: two rows of one label are told apart by their columns."""
    row = context.row
    alike = sum(other.label == row.label for other in experiment.rows.values()) > 1
    return (f"{row.label}, {' and '.join(row.columns) or row.name}" if alike else row.label), context.data.title


def _where(places: list[tuple[str, str]], everywhere: list[tuple[str, str]]) -> str | None:
    """Nothing where all are meant; else the data sets where they tell the places apart, else the rows, else both."""
    others = [place for place in everywhere if place not in places]
    if not others:
        return None
    for part in (1, 0):
        mine = dict.fromkeys(place[part] for place in places)
        if not any(place[part] in mine for place in others):
            return "; ".join(mine)
    return "; ".join(f"{label} on {data}" for label, data in dict.fromkeys(places))


def _shown(value: Any) -> str:
    return str(value) if not isinstance(value, list) else "[" + ", ".join(map(str, value)) + "]"
