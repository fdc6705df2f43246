"""Counts, figures and p-values of a report in words, the same in every text made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitad_med.evaluation.verdict import MAP_NAMES, format_figure, format_interval
from vitad_med.reporting.document.types import Report

NOTHING = "-"
NOT_RECORDED = "not recorded"
WITHHELD = "withheld"

_SOURCES = {"run": "the run itself", "calibration": "a calibration of the site"}

METRIC_NAMES = {
    "image_auroc": "image AUROC",
    "image_ap": "image average precision",
    "image_auroc_conditioned": "image AUROC within view and age band",
    "metadata_null_auroc": "AUROC of age, sex and view alone",
    "pixel_auroc": "pooled pixel AUROC",
    "pixel_ap": "pooled pixel average precision",
    "position_auroc": "position AUROC",
    "conditioned_auroc": "conditioned AUROC",
    "mean_image_auroc": "mean AUROC within an image",
    "pointing_game": "pointing game",
    "aupro": "AUPRO to false-positive rate 0.3",
    "aupro_100": "AUPRO at 100 thresholds",
    "iou_fpr1": "IoU at 1 % of normal pixels",
    "iou_fpr5": "IoU at 5 % of normal pixels",
    "iou_fpr10": "IoU at 10 % of normal pixels",
    "iobb_fpr1": "IoBB at 1 % of normal pixels",
    "iobb_fpr5": "IoBB at 5 % of normal pixels",
    "iobb_fpr10": "IoBB at 10 % of normal pixels",
    "froc_mean": "FROC, mean sensitivity",
    "froc_1": "FROC, sensitivity at 1 false positive an image",
    "false_positive_rate": "false-positive rate",
    "sensitivity": "sensitivity",
    "alarms_per_100": "alarms per 100 studies",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
}


def count_text(number: int | None) -> str:
    """A count with thousands separated; ``withheld`` where it is suppressed."""
    return WITHHELD if number is None else f"{number:,}"


def count_pair(count: Mapping[str, Any] | None) -> str:
    """Images and their patients: ``1,392 images of 848 patients``."""
    if count is None:
        return NOT_RECORDED
    images = "images" if count["images"] is None else _plural(count["images"], "image")
    if count["patients"] is None:
        return f"{images} of a withheld number of patients"
    return f"{images} of {_plural(count['patients'], 'patient')}"


def cohort_size(cohort: Mapping[str, Any]) -> str:
    """Images and patients of a cohort, worded as by :func:`count_pair`."""
    return count_pair({"images": cohort["n_images"], "patients": cohort["n_patients"]})


def figure_text(figure: Mapping[str, Any] | None) -> str:
    """A figure in 0..1 and its interval: ``.563 [.512-.611]``; a dash where there is none."""
    if figure is None or figure["value"] is None:
        return NOTHING
    text = format_figure(figure["value"])
    return text if figure["low"] is None else f"{text} {format_interval(figure['low'], figure['high'])}"


def difference_text(figure: Mapping[str, Any] | None) -> str:
    """A difference with its sign: ``+.031 [-.002 to +.064]``."""
    if figure is None or figure["value"] is None:
        return NOTHING
    text = signed(figure["value"])
    return text if figure["low"] is None else f"{text} [{signed(figure['low'])} to {signed(figure['high'])}]"


def hundred_text(figure: Mapping[str, Any] | None) -> str:
    """A figure in 0..100 with one decimal: ``11.2 [9.1-13.3]``."""
    if figure is None or figure["value"] is None:
        return NOTHING
    text = f"{figure['value']:.1f}"
    return text if figure["low"] is None else f"{text} [{figure['low']:.1f}-{figure['high']:.1f}]"


def signed(value: float) -> str:
    """Three decimals with sign and without the leading zero; exactly 0 has no sign."""
    text = f"{value:+.3f}".replace("0.", ".", 1)
    return ".000" if text in ("+.000", "-.000") else text


def p_text(p: float | None) -> str:
    """A p-value: three decimals, ``<.001`` below that."""
    if p is None:
        return NOTHING
    return "<.001" if p < 0.001 else format_figure(p)


def percent(share: float | None, decimals: int = 0) -> str:
    """``5 %``."""
    return NOTHING if share is None else f"{100 * share:.{decimals}f} %"


def map_name(name: str) -> str:
    """A null map in words, turned upside down or not."""
    base = name.removesuffix(" inverted")
    return MAP_NAMES.get(base, base) + name[len(base) :]


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def threshold_text(report: Report) -> str:
    """How the decision threshold was set and what it promises, in one or two sentences."""
    point = report["operating_point"]
    if point is None:
        return "none was set; scores are compared by rank only."
    aim = percent(point["false_positive_rate"])
    if point["threshold"] is None:
        return f"none for a false-positive rate of {aim}: {point['reason']}."
    text = (
        f"{point['threshold']:.6g}, set on normal images only for a false-positive rate of {aim} "
        f"({count_pair(point['calibration'])}, from {_SOURCES[point['source']]})."
    )
    bound = point["bound"]
    if bound is not None:
        text += (
            f" Expected rate {percent(bound['expected'], 1)}; with {percent(bound['confidence'])} confidence at most "
            f"{percent(bound['upper'], 1)}."
        )
    if point["check"] is not None:
        text += f" On normals held out for the check: {figure_text(point['check']['false_positive_rate'])}."
    return text


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
