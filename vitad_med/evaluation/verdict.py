"""Does a method localize better than position and brightness alone? One answer in plain words for each cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vitad_med.evaluation.document import Cohort, rounded

Answer = Literal["yes", "no", "cannot tell"]

MAP_NAMES = {
    "centre_blob": "centre blob",
    "box_prior": "box prior",
    "brightness": "brightness",
    "brightness_ranked": "brightness, ranked",
    "mirror_difference": "mirror difference",
}


@dataclass(frozen=True)
class Verdict:
    """The answer and the sentence that gives its figures."""

    answer: Answer
    sentence: str


def best_null(cohort: Cohort, metric: str) -> tuple[str, float] | None:
    """The null map that scores highest on a metric, in words, and its figure; None where no null map has one.

    On an AUROC a map that scores x is a map that scores 1 - x when turned upside down, and that knows nothing either:
    on dark lesions darkness is the null to beat. So the better of the two counts.
    """
    best: tuple[str, float] | None = None
    for name, figures in cohort["nulls"].items():
        figure = figures[metric]
        if figure is None:
            continue
        candidates = [(MAP_NAMES[name], figure)]
        if metric.endswith("auroc"):
            candidates.append((f"{MAP_NAMES[name]} inverted", rounded(1 - figure)))
        for candidate in candidates:
            # Of maps with equal figures the first is named: ranking brightness can repeat its figure.
            if best is None or candidate[1] > best[1]:
                best = candidate
    return best


def localization_verdict(cohort: Cohort) -> Verdict:
    """Compare the interval of ``conditioned_auroc`` with the best null map on the same images.

    ``yes`` when the whole interval lies above the best null map, ``no`` when it lies below, else ``cannot tell``.
    """
    value = cohort["metrics"]["conditioned_auroc"]
    if value["reason"] is not None or value["value"] is None:
        return Verdict("cannot tell", f"cannot tell: {value['reason']}")
    null = best_null(cohort, "conditioned_auroc")
    if null is None:
        return Verdict("cannot tell", "cannot tell: no null map could be scored")
    name, figure = null
    ours, theirs = format_figure(value["value"]), format_figure(figure)
    if value["low"] is None or value["high"] is None:
        return Verdict("cannot tell", f"too few patients to tell: {ours} against {theirs} ({name})")
    ours += f" {format_interval(value['low'], value['high'])}"
    if value["low"] > figure:
        return Verdict("yes", f"localizes better than position and brightness alone: {ours} against {theirs} ({name})")
    if value["high"] < figure:
        return Verdict("no", f"does not localize better than {name}, it is worse: {ours} against {theirs}")
    return Verdict("cannot tell", f"not shown to localize better than {name}: {ours} against {theirs}")


def format_figure(value: float) -> str:
    """Three decimals without the leading zero, as figures between 0 and 1 are read in papers: ``.563``."""
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0") else text


def format_interval(low: float, high: float) -> str:
    """An interval in brackets, without a space that a narrow terminal would break it at: ``[.512-.611]``."""
    return f"[{format_figure(low)}-{format_figure(high)}]"
