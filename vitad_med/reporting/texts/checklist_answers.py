"""Answers that a report gives to items of a reporting checklist, by the name that the item's ``fills`` gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vitad_med.reporting.document.types import Report
from vitad_med.reporting.texts import checklist_methods as methods
from vitad_med.reporting.texts import checklist_results as results

Answer = Callable[[Report, dict[str, Any]], str | None]

ANSWERS: dict[str, tuple[str, Answer]] = {
    "accuracy": ("cohorts.all, operating_point", results.accuracy),
    "analyses": ("flow", results.analyses),
    "characteristics": ("cohorts", results.characteristics),
    "data_availability": ("data", methods.data_availability),
    "data_sources": ("data", methods.data_sources),
    "drift": ("drift", results.drift),
    "exclusions": ("flow.excluded", methods.exclusions),
    "failures": ("cohorts.*.verdict", results.failures),
    "fairness": ("cohorts, gaps", results.fairness),
    "flow": ("flow", results.flow),
    "gap_methods": ("gaps", methods.gap_methods),
    "gaps": ("gaps", results.gaps),
    "identifiers": ("data.identifiers", methods.identifiers),
    "imbalance": ("flow, settings.prevalence", methods.imbalance),
    "intended_use": ("metadata.json", methods.intended_use),
    "interpretation": ("cohorts.all.verdict", results.interpretation),
    "limitations": ("cohorts, notes", results.limitations),
    "localization": ("cohorts.all.localization", results.localization),
    "measures": ("settings.primary, cohorts.nulls", methods.measures),
    "missing_data": ("flow.excluded, cohorts, notes", methods.missing_data),
    "model": ("method.model_digest", methods.model),
    "outcome": ("flow", methods.outcome),
    "output": ("method.score_rule, operating_point", methods.output),
    "partitions": ("flow", methods.partitions),
    "performance": ("cohorts", results.performance),
    "preparation": ("settings.eval_size, method.pipeline_digest", methods.preparation),
    "robustness": ("effects, drift", results.robustness),
    "sample_size": ("flow, settings", methods.sample_size),
    "score": ("method.score_rule", methods.score),
    "software": ("method.software", methods.software),
    "uncertainty": ("settings", methods.uncertainty),
    "updating": ("operating_point", methods.updating),
}
"""Answer by name: the keys of ``report.json`` that it comes from, and the function that words it."""
