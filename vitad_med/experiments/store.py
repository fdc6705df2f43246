"""Everything that an experiment's folder tells: tables, figures, settings, and what differs from the paper."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vitad_med.errors import DataError
from vitad_med.evaluation.files import write_text
from vitad_med.experiments.differences import differences
from vitad_med.experiments.planning import Plan
from vitad_med.experiments.records import read_done
from vitad_med.experiments.results import Figure, Result, family_figures, figures, read_results
from vitad_med.experiments.tables import Grid, Tables, build_tables
from vitad_med.experiments.writing import markdown, results_csv, table_csv, tex

SCHEMA = "vitad_med/experiment_results/1"
RESULTS = "results.json"
FILES = ("results.csv", "table.csv", RESULTS, "table.md", "table.tex")


def write_results(plan: Plan, out: Path) -> tuple[list[Result], list[Figure], Tables]:
    """Read what the finished steps wrote and write the five files of the folder.

    All but ``results.json``, which tells how long steps took, have the same bytes for the same figures.
    """
    results = read_results(plan, out)
    experiment = plan.experiment
    single = figures(results)
    made = [*single, *family_figures(experiment, single)]
    tables = build_tables(plan, made)
    texts = {
        "results.csv": results_csv(experiment, results),
        "table.csv": table_csv(experiment, made),
        RESULTS: json.dumps(_document(plan, out, results, made, tables), indent=2) + "\n",
        "table.md": markdown(tables),
        "table.tex": tex(tables),
    }
    for name, text in texts.items():
        write_text(out / name, text)
    return results, made, tables


def read_tables(out: Path) -> Tables:
    """The tables that :func:`write_results` wrote.

    Raises:
        DataError: there are none, or not of this version.
    """
    path = out / RESULTS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise DataError(f"'{path}' is of schema {content['schema']!r}, but must be '{SCHEMA}': run it again.")
        tables = content["tables"]
        grids = [
            Grid(
                title=grid["title"],
                groups=[(title, span) for title, span in grid["groups"]],
                heads=grid["heads"],
                rows=[(label, cells) for label, cells in grid["rows"]],
                note=grid["note"],
            )
            for grid in tables["grids"]
        ]
        return Tables(tables["title"], tables["question"], grids, tables["notes"], tables["footnotes"])
    except OSError as error:
        raise DataError(f"'{path}' cannot be read ({error.strerror}): give the --out of `experiment run`.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{path}' is no result of an experiment: run `experiment run` again.") from error


def _document(plan: Plan, out: Path, results: list[Result], made: list[Figure], tables: Tables) -> dict[str, Any]:
    experiment = plan.experiment
    return {
        "schema": SCHEMA,
        "title": experiment.title,
        "question": experiment.question,
        "scale": experiment.scale,
        "experiment": {"file": experiment.file.name, "digest": experiment.digest},
        "tables": asdict(tables),
        "figures": [asdict(figure) for figure in made],
        "results": [asdict(result) for result in results],
        "differs_from_paper": [asdict(difference) for difference in differences(plan)],
        "steps": {step: _step(plan, out, step) for step in plan.steps},
    }


def _step(plan: Plan, out: Path, step: str) -> dict[str, Any]:
    planned = plan.steps[step]
    done = read_done(out, planned) or {}
    return {
        "step": planned.name,
        "digest": planned.digest,
        "needs": dict(planned.needs),
        "settings": dict(planned.settings),
        "seconds": done.get("seconds"),
        "software": done.get("software"),
    }
