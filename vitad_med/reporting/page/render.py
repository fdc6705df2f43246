"""The page of a report: its template filled from the report, its worklist and its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitad_med.errors import DataError
from vitad_med.evaluation.files import write_text
from vitad_med.reporting.page.alarms import alarms_of
from vitad_med.reporting.page.charts.canvas import Styles
from vitad_med.reporting.page.charts.curves import curve_note
from vitad_med.reporting.page.facts import header_facts, method_facts, operating_facts
from vitad_med.reporting.page.figures import charts
from vitad_med.reporting.page.flow import flow_diagram
from vitad_med.reporting.page.gaps import gap_table
from vitad_med.reporting.page.names import METRICS, NULL_MAPS
from vitad_med.reporting.page.position import position_grid
from vitad_med.reporting.page.records import Row, Thumbnail
from vitad_med.reporting.page.shell import fill
from vitad_med.reporting.page.summary import CONFOUNDING, sentence, summary
from vitad_med.reporting.page.tables import (
    box_area_table,
    drift_table,
    image_table,
    localization_table,
    metric_table,
    operating_table,
)
from vitad_med.reporting.page.thumbnails import store_thumbnails
from vitad_med.reporting.page.worklist import STATIC_ROWS, script_json, static_rows, worklist_data

SCHEMA = "vitad_med/report/1"


def render_page(report: Mapping[str, Any], rows: Sequence[Row], thumbnails: Sequence[Thumbnail] = ()) -> str:
    """The whole page as text; the same input gives the same bytes.

    Args:
        report: content of ``report.json``; parts that are null or absent are left out of the page.
        rows: the worklist in the order in which it is first shown.
        thumbnails: pictures of some rows, inside the page or in files beside it.

    Raises:
        DataError: the report is of another schema, lacks what no page can do without, or a thumbnail has no row.
    """
    _check(report, rows, thumbnails)
    cohorts = report["cohorts"]
    report = {**report, "cohorts": {**cohorts, "all": {**cohorts["all"], "name": "all images"}}}
    styles = Styles()
    context = _context(report, rows, thumbnails, styles)
    in_files = any(isinstance(thumbnail.xray, str) for thumbnail in thumbnails)
    return fill("page.html", context, styles, in_files)


def write_page(
    path: str | Path,
    report: Mapping[str, Any],
    rows: Sequence[Row],
    thumbnails: Sequence[Thumbnail] = (),
    *,
    side_folder: bool = False,
) -> None:
    """Write the page, and with ``side_folder`` its pictures into ``thumbnails/`` beside it.

    A picture inside the page takes about 15 kB; a few hundred keep the file easy to send. More belong beside it.

    Raises:
        DataError: see ``render_page``.
        StorageError: a file cannot be written.
    """
    if side_folder:
        thumbnails = store_thumbnails(Path(path).parent, thumbnails)
    write_text(path, render_page(report, rows, thumbnails))


def _check(report: Mapping[str, Any], rows: Sequence[Row], thumbnails: Sequence[Thumbnail]) -> None:
    if report.get("schema") != SCHEMA:
        raise DataError(f"report.json has schema '{report.get('schema')}'; this version reads '{SCHEMA}'.")
    for key in ("method", "data", "settings", "flow", "cohorts"):
        if not isinstance(report.get(key), Mapping):
            raise DataError(f"report.json lacks the object '{key}'; write the report again.")
    if "all" not in report["cohorts"]:
        raise DataError("report.json has no cohort 'all' in 'cohorts'; write the report again.")
    beyond = [thumbnail.index for thumbnail in thumbnails if not 0 <= thumbnail.index < len(rows)]
    if beyond:
        raise DataError(
            f"thumbnail {beyond[0]} has no row: the worklist has {len(rows)}; give rows and pictures together."
        )


def _context(
    report: Mapping[str, Any], rows: Sequence[Row], thumbnails: Sequence[Thumbnail], styles: Styles
) -> dict[str, Any]:
    cohorts = report["cohorts"]
    point = report.get("operating_point") or {}
    worklist = worklist_data(rows, thumbnails)
    tables_of_cohorts = {
        cohort["name"]: metric_table(cohort, f"Every localization metric beside every null map: {cohort['name']}")
        for key, cohort in cohorts.items()
        if key != "all"
    }
    return {
        "title": f"{report['method'].get('name') or 'method without a name'} on {report['data'].get('name') or 'data'}",
        "header": header_facts(report),
        "answers": summary(report),
        "alarms": alarms_of(point),
        "flow": flow_diagram(report["flow"]),
        "charts": charts(report, styles),
        "curve_notes": {name: curve_note((report.get("curves") or {}).get(name) or {}) for name in ("roc", "froc")},
        "image_table": image_table(report),
        "operating_table": operating_table(report),
        "operating_facts": operating_facts(report),
        "localization_table": localization_table(report),
        "metric_table": metric_table(
            cohorts["all"], "Every localization metric beside every null map: all images", explained=True
        ),
        "metric_tables": {name: table for name, table in tables_of_cohorts.items() if table is not None},
        "verdicts": [
            (cohort["name"], sentence(cohort["verdict"]["sentence"]))
            for cohort in cohorts.values()
            if (cohort.get("verdict") or {}).get("sentence")
        ],
        "gap_table": gap_table(report) if report.get("gaps") else None,
        "box_area_table": box_area_table(report),
        "position": position_grid(report),
        "drift": report.get("drift"),
        "drift_table": drift_table(report["drift"]) if report.get("drift") else None,
        "confounding": CONFOUNDING,
        "metrics": list(METRICS.values()),
        "null_maps": list(NULL_MAPS.values()),
        "method_facts": method_facts(report),
        "notes": report.get("notes") or [],
        "burned_in_text": bool(thumbnails) and not report["data"].get("public"),
        "worklist": worklist,
        "worklist_json": script_json(worklist),
        "static_rows": static_rows(worklist),
        "static_count": STATIC_ROWS,
    }
