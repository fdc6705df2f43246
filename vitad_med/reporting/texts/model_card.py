"""``model_card.md``: what a model is for and how it does for whom, from ``report.json`` and ``metadata.json``.

Mitchell et al., Model Cards for Model Reporting, FAT* 2019. Nothing is invented: what the two files do not say is
given as "not recorded".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitad_med.evaluation.files import write_text
from vitad_med.reporting.document.document import ALL
from vitad_med.reporting.document.types import Report, ReportCohort
from vitad_med.reporting.document.wording import (
    METRIC_NAMES,
    NOTHING,
    count_pair,
    count_text,
    difference_text,
    figure_text,
    hundred_text,
    map_name,
    p_text,
    percent,
    sentence,
    threshold_text,
)
from vitad_med.reporting.texts.caveats import caveats
from vitad_med.reporting.texts.markdown import render

_STEPS = {
    "evaluated": "evaluated",
    "normal": "normal",
    "abnormal": "abnormal",
    "localized": "abnormal, with a box or mask",
    "not_localized": "abnormal, without",
    "calibration": "normal, set the threshold",
    "check": "normal, checked the threshold",
}


def model_card(report: Report, metadata: dict[str, Any] | None = None) -> str:
    """The card as Markdown.

    Args:
        report: a checked report.
        metadata: the bundle's metadata (keys of MONAI's schema, all optional), or None.

    Returns:
        The text; the same arguments give the same text.
    """
    settings, operating = report["settings"], report["operating_point"]
    known: dict[str, Any] = defaultdict(lambda: None, metadata or {})
    references = known["references"]
    return render(
        "model_card.md.j2",
        report=report,
        method=report["method"],
        data=report["data"],
        settings=settings,
        metadata=known,
        references=references if isinstance(references, list) else [],
        axes=", ".join(settings["cohorts"]) or "nothing but the whole",
        primary=", ".join(METRIC_NAMES.get(name, name) for name in settings["primary"]),
        level=percent(settings["level"]),
        replicates=f"{settings['replicates']:,}",
        counts=[_counts(cohort, settings["min_patients"]) for cohort in report["cohorts"].values()],
        flow=list(_flow(report)),
        threshold=threshold_text(report),
        verdict=sentence(report["cohorts"][ALL]["verdict"]["sentence"]),
        results=_results(report),
        nulls=[
            {"name": map_name(name)}
            | {column: figure_text(figures.get(f"{column}_auroc")) for column in ("pixel", "position", "conditioned")}
            for name, figures in report["cohorts"][ALL]["nulls"].items()
        ],
        gaps=list(_gaps(report)),
        operating=list(_operating(report)),
        prevalence=NOTHING if operating is None else percent(operating["prevalence"]),
        caveats=list(caveats(report)),
    )


def write_model_card(path: str | Path, report: Report, metadata: dict[str, Any] | None = None) -> None:
    """Write the card.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, model_card(report, metadata))


def _counts(cohort: ReportCohort, min_patients: int) -> dict[str, str]:
    return {
        "name": cohort["name"],
        "n_patients": count_text(cohort["n_patients"]),
        "n_images": count_text(cohort["n_images"]),
        "n_normal": count_text(cohort["n_normal"]),
        "n_abnormal": count_text(cohort["n_abnormal"]),
        "n_localized": count_text(cohort["n_localized"]),
    }


def _flow(report: Report) -> Iterator[dict[str, str]]:
    flow: dict[str, Any] = {**report["flow"]}
    yield {"step": "read", "count": count_pair(flow["read"])}
    for left_out in report["flow"]["excluded"]:
        yield {"step": f"left out: {left_out['reason']}", "count": count_pair(left_out)}
    for key, step in _STEPS.items():
        if flow[key] is not None:
            yield {"step": step, "count": count_pair(flow[key])}


def _results(report: Report) -> list[dict[str, Any]]:
    """Cohorts by one attribute and by several: unitary and intersectional results of Mitchell et al."""
    single: list[dict[str, str]] = []
    crossed: list[dict[str, str]] = []
    for key, cohort in report["cohorts"].items():
        verdict = cohort["verdict"]
        row = {
            "name": cohort["name"],
            "conditioned": figure_text(cohort["localization"]["conditioned_auroc"]),
            "null": NOTHING,
            "pixel": figure_text(cohort["localization"]["pixel_auroc"]),
            "image": figure_text(cohort["image"]["image_auroc"]),
            "metadata": figure_text(cohort["image"]["metadata_null_auroc"]),
            "answer": verdict["answer"],
        }
        if verdict["null"] is not None:
            row["null"] = f"{map_name(verdict['null'])}, difference {difference_text(verdict['difference'])}"
        (crossed if "," in key else single).append(row)
    return [
        {"title": "By one attribute", "rows": single, "empty": ""},
        {"title": "By attributes crossed", "rows": crossed, "empty": "No crossed cohorts were evaluated."},
    ]


def _gaps(report: Report) -> Iterator[dict[str, str]]:
    for gap in report["gaps"]:
        shared = {
            "axis": gap["axis"],
            "metric": METRIC_NAMES.get(gap["metric"], gap["metric"]),
            "p": f"not tested: {gap['reason']}" if gap["reason"] else f"{p_text(gap['p_holm'])} ({gap['test']})",
        }
        if not gap["levels"]:
            yield shared | dict.fromkeys(("name", "crude", "standardised"), NOTHING)
        for level in gap["levels"]:
            yield shared | {
                "name": level["name"],
                "crude": difference_text(level["crude"]),
                "standardised": difference_text(level["standardised"]),
            }


def _operating(report: Report) -> Iterator[dict[str, str]]:
    point = report["operating_point"]
    for key, figures in ({} if point is None else point["cohorts"]).items():
        row = {name: figure_text(value) for name, value in figures.items() if isinstance(value, dict)}
        yield row | {"name": report["cohorts"][key]["name"], "alarms_per_100": hundred_text(figures["alarms_per_100"])}
