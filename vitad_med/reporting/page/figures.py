"""All charts of a report, drawn from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from vitad_med.reporting.page.charts.canvas import Styles
from vitad_med.reporting.page.charts.curves import froc_chart, roc_chart
from vitad_med.reporting.page.charts.forest import Line, forest
from vitad_med.reporting.page.charts.scores import score_chart
from vitad_med.reporting.page.names import NULL_MAPS, null_name
from vitad_med.reporting.page.numbers import has_value
from vitad_med.reporting.page.tables import best_null


def charts(report: Mapping[str, Any], styles: Styles) -> dict[str, Markup]:
    """Name -> inline SVG, empty where the report has nothing to draw; adds the charts' classes to ``styles``."""
    cohorts = report["cohorts"]
    curves = report.get("curves") or {}
    point = report.get("operating_point") or {}
    names = {key: cohort["name"] for key, cohort in cohorts.items()}
    drawn = {
        "forest_where": _forest_where(cohorts, styles),
        "forest_image": _forest_image(cohorts, styles),
        "differences": _differences(cohorts["all"], styles),
        "roc": roc_chart(curves.get("roc") or {}, names, _rates(point), styles),
        "froc": froc_chart(
            curves.get("froc") or {},
            curves.get("froc_nulls") or {},
            names,
            {null: null_name(null).lower() for null in NULL_MAPS},
            styles,
        ),
        "scores": score_chart(report.get("distributions"), point.get("threshold"), styles),
        "box_area": _by_group("box_area", "Conditioned AUROC by size of the box", report, styles),
        "position": _by_group("position", "Conditioned AUROC by position of the box", report, styles),
    }
    return {name: Markup(svg) for name, svg in drawn.items()}


def _forest_where(cohorts: Mapping[str, Any], styles: Styles) -> str:
    lines = [
        Line(cohort["name"], (cohort.get("localization") or {}).get("conditioned_auroc"), best_null(cohort)[1])
        for cohort in cohorts.values()
    ]
    return forest(
        "forest-where",
        "Conditioned AUROC of every cohort beside its best null map",
        lines,
        axis="conditioned AUROC",
        reference=0.5,
        styles=styles,
        null_name="best null map",
    )


def _forest_image(cohorts: Mapping[str, Any], styles: Styles) -> str:
    images = [(cohort["name"], cohort.get("image") or {}) for cohort in cohorts.values()]
    return forest(
        "forest-image",
        "Image AUROC of every cohort beside metadata alone",
        [Line(name, image.get("image_auroc"), image.get("metadata_null_auroc")) for name, image in images],
        axis="image AUROC",
        reference=0.5,
        styles=styles,
        null_name="metadata alone",
    )


def _differences(cohort: Mapping[str, Any], styles: Styles) -> str:
    lines = [Line(null_name(name), figure) for name, figure in (cohort.get("differences") or {}).items()]
    return forest(
        "differences",
        "This method minus each null map, on the same images",
        lines,
        axis="difference in conditioned AUROC",
        reference=0,
        styles=styles,
        signed=True,
    )


def _by_group(key: str, title: str, report: Mapping[str, Any], styles: Styles) -> str:
    groups = (report.get("effects") or {}).get(key) or []
    lines = [Line(group["group"], group.get("conditioned_auroc")) for group in groups]
    return forest(f"effect-{key}", title, lines, axis="conditioned AUROC", reference=0.5, styles=styles)


def _rates(point: Mapping[str, Any]) -> tuple[float, float] | None:
    rates = (point.get("cohorts") or {}).get("all") or {}
    rate, sensitivity = rates.get("false_positive_rate"), rates.get("sensitivity")
    if has_value(rate) and has_value(sensitivity):
        return rate["value"], sensitivity["value"]
    return None
