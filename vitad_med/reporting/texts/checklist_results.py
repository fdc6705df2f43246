"""What a report answers of a checklist's items on results; None where it does not say."""

from __future__ import annotations

from typing import Any

from vitad_med.reporting.document.document import ALL
from vitad_med.reporting.document.types import Report
from vitad_med.reporting.document.wording import (
    METRIC_NAMES,
    cohort_size,
    count_pair,
    difference_text,
    figure_text,
    hundred_text,
    p_text,
    sentence,
)
from vitad_med.reporting.texts import checklist_methods as methods
from vitad_med.reporting.texts.caveats import caveats

Metadata = dict[str, Any]


def flow(report: Report, metadata: Metadata) -> str | None:
    """Images and patients, read and evaluated."""
    flow = report["flow"]
    counts = {
        "read": flow["read"],
        "evaluated": flow["evaluated"],
        "normal": flow["normal"],
        "abnormal": flow["abnormal"],
    }
    steps = "; ".join(f"{name}: {count_pair(count)}" for name, count in counts.items())
    return f"{steps}. {methods.exclusions(report, metadata)}"


def characteristics(report: Report, metadata: Metadata) -> str | None:
    """Sizes of the cohorts of one attribute."""
    parts = [f"{cohort['name']}: {cohort_size(cohort)}" for key, cohort in report["cohorts"].items() if "," not in key]
    return "; ".join(parts) + "."


def analyses(report: Report, metadata: Metadata) -> str | None:
    """Images and patients in each kind of figure."""
    flow = report["flow"]
    text = (
        f"Image figures: {count_pair(flow['evaluated'])}, abnormal {count_pair(flow['abnormal'])}; "
        f"localization: {count_pair(flow['localized'])}"
    )
    return f"{text}; threshold: {count_pair(flow['calibration'])}." if flow["calibration"] else f"{text}."


def performance(report: Report, metadata: Metadata) -> str | None:
    """Both primary figures of every cohort."""
    parts = [
        f"{cohort['name']}: image AUROC {figure_text(cohort['image']['image_auroc'])}, conditioned AUROC "
        f"{figure_text(cohort['localization']['conditioned_auroc'])}"
        for cohort in report["cohorts"].values()
    ]
    return "; ".join(parts) + "."


def accuracy(report: Report, metadata: Metadata) -> str | None:
    """Image figures of all images, at the threshold too."""
    whole, point = report["cohorts"][ALL], report["operating_point"]
    if whole["image"]["image_auroc"]["value"] is None:
        return None
    text = f"Image AUROC {figure_text(whole['image']['image_auroc'])}"
    if point is not None and ALL in point["cohorts"]:
        at = point["cohorts"][ALL]
        text += (
            f"; at the threshold sensitivity {figure_text(at['sensitivity'])}, false-positive rate "
            f"{figure_text(at['false_positive_rate'])}, {hundred_text(at['alarms_per_100'])} alarms per 100 studies"
        )
    return f"{text}."


def gaps(report: Report, metadata: Metadata) -> str | None:
    """Gaps between cohorts."""
    parts = []
    for gap in report["gaps"]:
        metric = METRIC_NAMES.get(gap["metric"], gap["metric"])
        if gap["reason"]:
            parts.append(f"{gap['axis']}, {metric}: not tested, {gap['reason']}")
            continue
        levels = ", ".join(
            f"{level['name']} {difference_text(level['crude'])}, standardised {difference_text(level['standardised'])}"
            for level in gap["levels"]
        )
        parts.append(f"{gap['axis']}, {metric}: {levels}, adjusted p {p_text(gap['p_holm'])}")
    return "; ".join(parts) + "." if parts else None


def fairness(report: Report, metadata: Metadata) -> str | None:
    """Which groups were compared, and how they differ."""
    axes = ", ".join(report["settings"]["cohorts"])
    return f"Every figure by {axes}. {gaps(report, metadata) or 'No gap was tested.'}" if axes else None


def drift(report: Report, metadata: Metadata) -> str | None:
    """What drift was found."""
    if report["drift"] is None:
        return None
    return f"Compared with the calibration, not with the training data: {sentence(report['drift']['sentence'])}"


def robustness(report: Report, metadata: Metadata) -> str | None:
    """Localization by size and position of the truth, and drift."""
    groups = [*report["effects"]["box_area"], *report["effects"]["position"]]
    parts = [f"{group['group']}: conditioned AUROC {figure_text(group['conditioned_auroc'])}" for group in groups]
    return (
        " ".join(part for part in ("; ".join(parts) + "." if parts else "", drift(report, metadata) or "") if part)
        or None
    )


def localization(report: Report, metadata: Metadata) -> str | None:
    """Whether the maps were tested."""
    figure = report["cohorts"][ALL]["localization"]["conditioned_auroc"]
    if figure["value"] is None:
        return None
    tested = f"Heat maps, tested against boxes or masks: conditioned AUROC {figure_text(figure)}."
    return f"{tested} {interpretation(report, metadata)}"


def interpretation(report: Report, metadata: Metadata) -> str | None:
    """The verdict on all images."""
    return f"On all images: {sentence(report['cohorts'][ALL]['verdict']['sentence'])}"


def failures(report: Report, metadata: Metadata) -> str | None:
    """Where localization was not shown."""
    weak = [
        cohort["name"]
        for cohort in report["cohorts"].values()
        if cohort["localization"]["conditioned_auroc"]["value"] is not None and cohort["verdict"]["answer"] != "yes"
    ]
    found = f"Not shown to localize better than position and brightness alone: {', '.join(weak)}." if weak else ""
    return f"{found} Every image stands in images.csv by score.".strip()


def limitations(report: Report, metadata: Metadata) -> str | None:
    """Caveats and notes."""
    return " ".join(caveats(report)) or None
