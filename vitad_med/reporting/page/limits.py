"""What the figures say the method must not be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitad_med.reporting.page.numbers import has_value, percent, plain, stated_percent

_NAMED = 6


def limits_of_use(report: Mapping[str, Any], beats_metadata: bool | None) -> list[str]:
    """Sentences, the most important first."""
    cohort = report["cohorts"]["all"]
    point = report.get("operating_point") or {}
    rates = (point.get("cohorts") or {}).get("all") or {}
    limits = ["Research software, no medical device: not for decisions about patients."]
    limits.append(_map_limit(cohort))
    npv = rates.get("npv")
    if has_value(npv) and point.get("prevalence") is not None:
        limits.append(
            "Not for ruling disease out: of 100 studies without an alarm "
            f"{plain(100 * (1 - npv['value']))} are abnormal, of 100 studies taken at random "
            f"{100 * point['prevalence']:.4g}."
        )
    if beats_metadata is not True:
        limits.append(
            "Not as evidence of detection: the image score is not shown to say more than age, sex and view do."
        )
    unmeasured = [c["name"] for key, c in report["cohorts"].items() if key != "all" and not _measured(c)]
    if unmeasured:
        more = f" and {len(unmeasured) - _NAMED} more" if len(unmeasured) > _NAMED else ""
        limits.append(f"Not in cohorts that were too small to measure: {', '.join(unmeasured[:_NAMED])}{more}.")
    if any(row.get("shifted") for row in (report.get("drift") or {}).get("rows") or []):
        limits.append("Not with this threshold: scores or intensities have moved since it was set (see Drift).")
    elif point.get("threshold") is not None:
        limits.append(
            "Not with this threshold elsewhere: the false-positive rate of "
            f"{stated_percent(point['false_positive_rate'])} holds for new patients of this population, with this "
            "model, pipeline and device."
        )
    return limits


def _map_limit(cohort: Mapping[str, Any]) -> str:
    answer = (cohort.get("verdict") or {}).get("answer")
    if answer != "yes":
        return "Not for pointing at findings: the heat map is not shown to say more than position and brightness do."
    pointing = (cohort.get("localization") or {}).get("pointing_game")
    if has_value(pointing):
        return (
            f"Not as an outline of a finding: the highest point of the map lies in the marked area in "
            f"{percent(pointing['value'])} of the images that have one."
        )
    return "Not as an outline of a finding: the heat map ranks places, it draws no borders."


def _measured(cohort: Mapping[str, Any]) -> bool:
    image = (cohort.get("image") or {}).get("image_auroc")
    return has_value(image) or has_value((cohort.get("localization") or {}).get("conditioned_auroc"))
