"""Does a method localize better than position and brightness alone? One answer in plain words for each cohort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scipy.stats import norm

from vitad_med.evaluation.document import Cohort, Value, rounded

Answer = Literal["yes", "no", "cannot tell"]

MAP_NAMES = {
    "centre_blob": "centre blob",
    "box_prior": "box prior",
    "brightness": "brightness",
    "brightness_ranked": "brightness, ranked",
    "mirror_difference": "mirror difference",
}
INVERTED = " inverted"


@dataclass(frozen=True)
class Verdict:
    """The answer, the sentence that gives its figures, and what it rests on.

    Attributes:
        null: the null map that the method was compared with, ``<map>`` or ``<map> inverted``; None where none could
            be scored.
        difference: paired difference of ``conditioned_auroc``, method minus that null map.
    """

    answer: Answer
    sentence: str
    null: str | None = None
    difference: Value | None = None


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
            candidates.append((MAP_NAMES[name] + INVERTED, rounded(1 - figure)))
        for candidate in candidates:
            # Of maps with equal figures the first is named: ranking brightness can repeat its figure.
            if best is None or candidate[1] > best[1]:
                best = candidate
    return best


def localization_verdict(value: Value, differences: Mapping[str, Value]) -> Verdict:
    """Read the paired differences of ``conditioned_auroc`` between the method and each null map on the same images.

    ``yes`` when the intervals of the differences to *every* null map, upright and inverted, lie above zero: a method
    that is compared with the best of several must beat them all, and a test of that kind needs no correction for their
    number (Berger, Technometrics 24, 1982, intersection-union); brightness must be among them. ``no`` when the
    interval of the difference to the best null map lies below zero after it was widened for having picked the best of
    several (Bonferroni over the null maps whose figures differ). Otherwise ``cannot tell``.

    Args:
        value: the method's ``conditioned_auroc``.
        differences: by ``<map>`` and ``<map> inverted``.
    """
    if value["value"] is None:
        return Verdict("cannot tell", f"cannot tell: {value['reason']}")
    scored = {name: difference for name, difference in differences.items() if difference["value"] is not None}
    if not scored:
        return Verdict("cannot tell", "cannot tell: no null map could be scored")
    # The smallest difference belongs to the best null map; of equal ones the first is named.
    key = min(scored, key=lambda name: float(scored[name]["value"] or 0.0))
    difference = scored[key]
    assert difference["value"] is not None
    name = map_name(key)
    ours, theirs = format_figure(value["value"]), format_figure(rounded(value["value"] - difference["value"]))
    if difference["low"] is None or difference["high"] is None:
        return Verdict("cannot tell", f"too few patients to tell: {ours} against {theirs} ({name})", key, difference)
    compared = f"{ours} against {theirs} ({name}), difference {format_difference(difference)}"
    if all(other["low"] is not None and other["low"] > 0 for other in scored.values()):
        if "brightness" not in scored:
            said = "better than position alone, but brightness was not compared because the images were not given"
            return Verdict("cannot tell", f"{said}: {compared}", key, difference)
        return Verdict("yes", f"localizes better than position and brightness alone: {compared}", key, difference)
    if _corrected_high(difference, len({other["value"] for other in scored.values()})) < 0:
        return Verdict("no", f"does not localize better than {name}, it is worse: {compared}", key, difference)
    return Verdict("cannot tell", f"not shown to localize better than {name}: {compared}", key, difference)


def _corrected_high(difference: Value, tests: int) -> float:
    """Upper end of a 95 % interval, its distance from the figure stretched to a level of 1 - .05 / tests."""
    value, high = difference["value"], difference["high"]
    assert value is not None
    assert high is not None
    return value + (high - value) * float(norm.ppf(1 - 0.025 / tests) / norm.ppf(0.975))


def map_name(key: str) -> str:
    """A null map in words, from ``brightness`` or ``brightness inverted``."""
    name = key.removesuffix(INVERTED)
    return MAP_NAMES[name] + key[len(name) :]


def format_figure(value: float) -> str:
    """Three decimals without the leading zero, as figures between 0 and 1 are read in papers: ``.563``."""
    text = f"{abs(value):.3f}"
    sign = "-" if value < 0 and float(text) > 0 else ""
    return sign + (text[1:] if text.startswith("0") else text)


def format_interval(low: float, high: float) -> str:
    """An interval in brackets, without a space that a narrow terminal would break it at: ``[.512-.611]``."""
    return f"[{format_figure(low)}-{format_figure(high)}]"


def format_difference(difference: Value) -> str:
    """A signed difference with its interval: ``-.043 [-.081 to -.006]``."""
    assert difference["value"] is not None
    text = _signed(difference["value"])
    if difference["low"] is None or difference["high"] is None:
        return text
    return f"{text} [{_signed(difference['low'])} to {_signed(difference['high'])}]"


def _signed(value: float) -> str:
    text = format_figure(value)
    return text if text.startswith("-") else f"+{text}"
