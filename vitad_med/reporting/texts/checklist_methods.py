"""What a report answers of a checklist's items on data and methods; None where it does not say."""

from __future__ import annotations

from typing import Any

from vitad_med.data.case import UNKNOWN
from vitad_med.reporting.document.document import ALL
from vitad_med.reporting.document.types import Report
from vitad_med.reporting.document.wording import (
    METRIC_NAMES,
    cohort_size,
    count_pair,
    map_name,
    percent,
    threshold_text,
)

Metadata = dict[str, Any]


def intended_use(report: Report, metadata: Metadata) -> str | None:
    """The model's intended use, from its metadata."""
    return metadata.get("intended_use")


def data_sources(report: Report, metadata: Metadata) -> str | None:
    """Evaluation and training data."""
    name = report["data"]["name"]
    evaluated = (
        None if name is None else f"Evaluated on {name} ({'published' if report['data']['public'] else 'private'})."
    )
    trained = metadata.get("data_source") and f"Trained on: {metadata['data_source']}."
    return " ".join(part for part in (evaluated, trained) if part) or None


def exclusions(report: Report, metadata: Metadata) -> str | None:
    """What was left out and why."""
    left_out = [f"{part['reason']}: {count_pair(part)}" for part in report["flow"]["excluded"]]
    return f"Left out of the images read: {'; '.join(left_out) or 'none'}."


def preparation(report: Report, metadata: Metadata) -> str | None:
    """Grid, and the digest of the settings."""
    size = report["settings"]["eval_size"]
    text = f"Maps and truth on a grid of {size} x {size} pixels, images resized whole."
    digest = report["method"]["pipeline_digest"]
    return text if digest is None else f"{text} Settings that change scores: SHA-256 {digest}."


def outcome(report: Report, metadata: Metadata) -> str | None:
    """What counts as abnormal, and where."""
    flow = report["flow"]
    return (
        f"Abnormal or normal by the data's label; where, by boxes or masks: {count_pair(flow['localized'])}; "
        f"abnormal without: {count_pair(flow['not_localized'])}."
    )


def sample_size(report: Report, metadata: Metadata) -> str | None:
    """Numbers evaluated, and the least that figures need."""
    flow, settings = report["flow"], report["settings"]
    least = settings["min_patients"]
    return (
        f"Evaluated: {count_pair(flow['evaluated'])}; abnormal: {count_pair(flow['abnormal'])}. "
        f"Figures need {least} patients in a class, intervals {settings['interval_patients']}. The software plans no "
        "study size."
    )


def missing_data(report: Report, metadata: Metadata) -> str | None:
    """Unknown values, exclusions and notes."""
    unknown = [
        f"{cohort['name']}: {cohort_size(cohort)}"
        for key, cohort in report["cohorts"].items()
        if UNKNOWN in [part.partition("=")[2] for part in key.split(",")]
    ]
    values = "Images without a value form a cohort of their own"
    values += f": {'; '.join(unknown)}." if unknown else "; there is none."
    values += (
        " The model of age, sex and view alone puts the mean age, and the middle between two values of sex or view, in "
        "place of a missing one."
    )
    return " ".join([values, exclusions(report, metadata) or "", *report["notes"]])


def partitions(report: Report, metadata: Metadata) -> str | None:
    """Normals that set and checked the threshold."""
    flow = report["flow"]
    if flow["calibration"] is None:
        return None
    text = f"Threshold set on normal images: {count_pair(flow['calibration'])}"
    if flow["check"] is not None:
        text += f"; checked on others: {count_pair(flow['check'])}"
    return f"{text}; divided by patient."


def model(report: Report, metadata: Metadata) -> str | None:
    """Description and digest of the model."""
    digest = report["method"]["model_digest"]
    described = metadata.get("description")
    weights = None if digest is None else f"Weights: SHA-256 {digest}."
    return " ".join(part for part in (described, weights) if part) or None


def software(report: Report, metadata: Metadata) -> str | None:
    """Names and versions."""
    return report["method"]["software"]


def gap_methods(report: Report, metadata: Metadata) -> str | None:
    """How gaps were tested."""
    if not report["gaps"]:
        return None
    tests = sorted({gap["test"] for gap in report["gaps"]})
    axes = list(dict.fromkeys(gap["axis"] for gap in report["gaps"]))
    return (
        f"Gaps between cohorts of {', '.join(axes)}, crude and standardised, by {' and '.join(tests)} tests, p-values "
        "adjusted by Holm's method."
    )


def measures(report: Report, metadata: Metadata) -> str | None:
    """Primary figures and what stands beside them."""
    primary = ", ".join(METRIC_NAMES.get(name, name) for name in report["settings"]["primary"])
    nulls = ", ".join(map_name(name) for name in report["cohorts"][ALL]["nulls"])
    beside = f" Beside them null maps that know nothing ({nulls})" if nulls else " Beside them"
    return f"Primary: {primary}.{beside} and a model of age, sex and view alone. Plots: ROC, FROC, score distributions."


def updating(report: Report, metadata: Metadata) -> str | None:
    """The threshold that was set anew."""
    point = report["operating_point"]
    return None if point is None else f"Only the threshold was set anew: {threshold_text(report)}"


def score(report: Report, metadata: Metadata) -> str | None:
    """What the image score is."""
    rule = report["method"]["score_rule"]
    return None if rule is None else f"Image score: {rule}."


def imbalance(report: Report, metadata: Metadata) -> str | None:
    """Class sizes and the prevalence assumed."""
    flow = report["flow"]
    prevalence = percent(report["settings"]["prevalence"])
    return (
        f"Normal: {count_pair(flow['normal'])}; abnormal: {count_pair(flow['abnormal'])}. "
        f"Predictive values are stated for a prevalence of {prevalence}, not for this mix."
    )


def output(report: Report, metadata: Metadata) -> str | None:
    """What the model returns, and the threshold."""
    rule = report["method"]["score_rule"]
    shown = "A score an image and a map" if rule is None else f"A map, and a score an image: {rule}"
    return f"{shown}. Threshold: {threshold_text(report)}"


def data_availability(report: Report, metadata: Metadata) -> str | None:
    """Name of the data and whether they are published."""
    data = report["data"]
    if data["name"] is None:
        return None
    digest = f", SHA-256 {data['data_digest']}" if data["data_digest"] else ""
    return f"{data['name']} is {'a published data set' if data['public'] else 'not public'}{digest}."


def identifiers(report: Report, metadata: Metadata) -> str | None:
    """How names are given."""
    names = report["data"]["identifiers"]
    if names is None:
        return None
    suppressed = "" if report["data"]["public"] else " Counts of few patients are withheld."
    return f"Identifiers in the report: {names}.{suppressed}"


def uncertainty(report: Report, metadata: Metadata) -> str | None:
    """Intervals and tests."""
    settings = report["settings"]
    return (
        f"{percent(settings['level'])} intervals of a bootstrap of patients, {settings['replicates']:,} replicates, "
        f"seed {settings['seed']}; image AUROC checked with clustered DeLong; gaps adjusted by Holm's method."
    )
