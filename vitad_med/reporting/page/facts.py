"""Facts beside the figures: what was evaluated, how, and what the threshold promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitad_med.reporting.page.flow import counts_text
from vitad_med.reporting.page.names import axis_name, metric_name
from vitad_med.reporting.page.numbers import NOTHING, figure_text, percent, short_digest, stated_percent

_COMPARISONS = (
    "Axes of cohorts times primary figures, corrected by Holm. Between patients: patient labels are permuted. Within "
    "patients: clustered bootstrap of the difference. Standardised: to the pooled mix of the other attributes; support "
    "is the share of images that the standardisation could use."
)
_HEAT_MAPS = (
    "Colours run from the 1st to the 99.9th percentile within each image: they compare places in one image, never "
    "images with one another."
)
_PIXEL_SCORES = {"map": "the map", "map_times_image_score": "the map times the image score"}


def header_facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(term, text) pairs for the head of the page."""
    method, data = report["method"], report["data"]
    facts = [
        ("Method", method.get("name")),
        ("Data", data.get("name")),
        ("Run", _time(report.get("created"))),
        ("Evaluated", ", ".join(counts_text(report["flow"].get("evaluated")))),
        ("Model", short_digest(method.get("model_digest"))),
        ("Pipeline", short_digest(method.get("pipeline_digest"))),
        ("Data digest", short_digest(data.get("data_digest"))),
        ("Input digest", short_digest(data.get("digest"))),
    ]
    return [(term, text or NOTHING) for term, text in facts]


def method_facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(term, text) pairs for the methods section."""
    settings, method, data = report["settings"], report["method"], report["data"]
    level = stated_percent(settings["level"])
    identifiers = {"clear": "as published", "hashed": "keyed hashes"}.get(data.get("identifiers") or "", NOTHING)
    facts = [
        (
            "Intervals",
            f"{level}, on the logit scale, from {settings['replicates']} bootstrap replicates that resample patients, "
            f"shared by all figures; expanded percentiles for differences; seed {settings['seed']}. No interval under "
            f"{settings['interval_patients']} patients in a class.",
        ),
        (
            "Smallest cell",
            f"A cohort with fewer than {settings['min_patients']} patients in a class is named, not scored.",
        ),
        ("Cohorts by", ", ".join(axis_name(axis).lower() for axis in settings.get("cohorts") or []) or "none"),
        ("Primary figures", ", ".join(metric_name(name) for name in settings.get("primary") or []) or NOTHING),
        ("Comparisons", _COMPARISONS),
        ("Grid", f"{settings['eval_size']} x {settings['eval_size']} pixels, images resized whole"),
        ("Pixel score", _PIXEL_SCORES.get(settings.get("pixel_score") or "", settings.get("pixel_score") or NOTHING)),
        ("Image score", method.get("score_rule")),
        ("Heat maps", _HEAT_MAPS),
        ("Software", method.get("software")),
        ("Identifiers", identifiers),
        ("Model digest", method.get("model_digest")),
        ("Pipeline digest", method.get("pipeline_digest")),
        ("Backend digest", method.get("backend_digest")),
        ("Data digest", data.get("data_digest")),
        ("Input digest", data.get("digest")),
    ]
    delong = report["cohorts"]["all"].get("delong")
    if delong and delong.get("value") is not None:
        facts.insert(1, ("Cross-check", f"Image AUROC by clustered DeLong (Obuchowski): {figure_text(delong)}"))
    return [(term, text or NOTHING) for term, text in facts]


def operating_facts(report: Mapping[str, Any]) -> list[str]:
    """Sentences on the threshold: where it comes from, what it promises, and whether held-out normals agree."""
    point = report.get("operating_point") or {}
    if not point:
        return []
    wanted = stated_percent(point["false_positive_rate"])
    counts = " of ".join(counts_text(point.get("calibration")))
    origin = {"calibration": f"a calibration ({short_digest(point.get('calibration_digest'))})"}.get(
        point.get("source") or "", "this run's normal images"
    )
    if point.get("threshold") is None:
        return [f"No threshold was set for a false-positive rate of {wanted}: {point.get('reason') or 'not computed'}."]
    sentences = [
        f"An image whose score is above {point['threshold']:.4g} raises an alarm. The threshold comes from "
        f"normal images alone: {counts} of {origin}, one image drawn per patient."
    ]
    bound = point.get("bound")
    if bound and bound.get("expected") is not None and bound.get("upper") is not None:
        sentences.append(
            "The conformal bound: a normal image of a new patient of the same population raises an alarm with a "
            f"probability of at most {percent(bound['expected'])} on average over calibrations, and with "
            f"{stated_percent(bound['confidence'])} confidence of at most {percent(bound['upper'])} for this one."
        )
    if point.get("lowest_rate") is not None:
        sentences.append(f"The lowest rate that these patients could promise is {percent(point['lowest_rate'])}.")
    check = point.get("check")
    if check:
        sentences.append(
            f"The check, on {' of '.join(counts_text(check))} that the threshold never saw: "
            f"{figure_text(check.get('false_positive_rate'), 'percent')} alarm."
        )
    return sentences


def _time(created: str | None) -> str | None:
    """``2026-11-25T13:00:00Z`` as ``2026-11-25 13:00 UTC``."""
    if not created or len(created) < 16:
        return created
    return f"{created[:10]} {created[11:16]} UTC"
