"""Comparisons: rows of bundle runs on data sets and seeds, run once each, in one table beside the paper's figures."""

from vitad_med.experiments.planning import Plan, plan
from vitad_med.experiments.reading import read_experiment
from vitad_med.experiments.runner import Outcome, missing_steps, run
from vitad_med.experiments.store import read_tables

__all__ = ["Outcome", "Plan", "missing_steps", "plan", "read_experiment", "read_tables", "run"]
