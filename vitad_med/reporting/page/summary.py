"""The report in one minute: five questions, each with an answer that its figures carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitad_med.reporting.page.alarms import alarms_of
from vitad_med.reporting.page.gaps import surviving_gaps
from vitad_med.reporting.page.limits import limits_of_use
from vitad_med.reporting.page.names import null_name
from vitad_med.reporting.page.numbers import figure_text, has_interval, has_value, plain, stated_percent

CONFOUNDING = (
    "Normal and abnormal images can differ in scanner, ward and year as well as in disease; a score may read those. "
    "No image AUROC is a detection claim by itself."
)


@dataclass(frozen=True)
class Answer:
    """One question of the summary.

    Attributes:
        key: ``where``, ``whether``, ``alarm``, ``whom`` or ``limits``.
        tone: ``good``, ``bad``, ``open`` or ``plain``: colours the answer.
    """

    key: str
    question: str
    answer: str
    tone: str
    sentences: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)


def summary(report: Mapping[str, Any]) -> list[Answer]:
    """The five answers, in the order of the page."""
    return [_where(report), _whether(report), _alarm(report), _whom(report), _limits(report)]


def beats_metadata(report: Mapping[str, Any]) -> bool | None:
    """Whether the image AUROC exceeds what metadata alone reach, by their paired difference; None without one."""
    whole = report["cohorts"]["all"]
    ours, difference = (whole.get("image") or {}).get("image_auroc"), whole.get("metadata_difference")
    if not has_interval(ours) or not has_interval(difference):
        return None
    # Metadata that are worse than chance are no success of the method: chance is the least that it must beat.
    return bool(difference["low"] > 0 and ours["low"] > 0.5)


def _where(report: Mapping[str, Any]) -> Answer:
    question = "Does it show where the image is abnormal?"
    cohort = report["cohorts"]["all"]
    verdict = cohort.get("verdict") or {}
    if not has_value((cohort.get("localization") or {}).get("conditioned_auroc")):
        reason = ((cohort.get("localization") or {}).get("conditioned_auroc") or {}).get("reason")
        return Answer("where", question, "Not measured", "open", [sentence(reason or "no image has a box or a mask")])
    answer, tone = {
        "yes": ("Yes, better than position and brightness alone", "good"),
        "no": ("No, not better than position and brightness alone", "bad"),
    }.get(verdict.get("answer", ""), ("Not shown: it may be no better than position and brightness alone", "open"))
    sentences = [
        f"Over all images its conditioned AUROC is {figure_text(cohort['localization']['conditioned_auroc'])}; "
        ".5 is a map that knows nothing."
    ]
    if has_value(verdict.get("difference")) and verdict.get("null"):
        sentences.append(
            f"Against the best map that knows nothing of disease ({null_name(verdict['null']).lower()}) the difference "
            f"on the same images is {figure_text(verdict['difference'], signed=True)}."
        )
    return Answer("where", question, answer, tone, [*sentences, *_verdicts_of_cohorts(report)])


def _verdicts_of_cohorts(report: Mapping[str, Any]) -> list[str]:
    """Cohorts by answer, in words."""
    by_answer: dict[str, list[str]] = {"yes": [], "no": [], "cannot tell": []}
    for key, cohort in report["cohorts"].items():
        answer = (cohort.get("verdict") or {}).get("answer")
        if key != "all" and answer in by_answer:
            by_answer[answer].append(cohort["name"])
    return [
        f"{words}: {', '.join(by_answer[answer])}."
        for answer, words in (("yes", "Better in"), ("no", "Worse in"), ("cannot tell", "Cannot tell in"))
        if by_answer[answer]
    ]


def _whether(report: Mapping[str, Any]) -> Answer:
    question = "Does it tell normal from abnormal images?"
    image = report["cohorts"]["all"].get("image") or {}
    auroc, null = image.get("image_auroc"), image.get("metadata_null_auroc")
    if not has_value(auroc):
        return Answer(
            "whether", question, "Not measured", "open", [sentence((auroc or {}).get("reason") or "no labels")]
        )
    beats = beats_metadata(report)
    answer, tone = {
        True: ("Better than age, sex and view alone", "good"),
        False: ("Not shown to be better than age, sex and view alone", "bad"),
        None: ("Cannot tell whether better than age, sex and view alone", "open"),
    }[beats]
    sentences = [f"Image AUROC {figure_text(auroc)}; age, sex and view without any pixel reach {figure_text(null)}."]
    difference = report["cohorts"]["all"].get("metadata_difference")
    if has_interval(difference):
        sentences.append(f"The difference on the same images is {figure_text(difference, signed=True)}.")
    conditioned = image.get("image_auroc_conditioned")
    if has_value(conditioned):
        sentences.append(f"Within one view and age band it is {figure_text(conditioned)}.")
    return Answer("whether", question, answer, tone, [*sentences, CONFOUNDING])


def _alarm(report: Mapping[str, Any]) -> Answer:
    question = "What does an alarm mean?"
    point = report.get("operating_point") or {}
    if point.get("threshold") is None:
        return Answer("alarm", question, "No threshold", "open", [sentence(point.get("reason") or "none was set")])
    alarms = alarms_of(point)
    rates = (point.get("cohorts") or {}).get("all") or {}
    if alarms is None:
        reason = (rates.get("sensitivity") or {}).get("reason") or "no labels to measure it on"
        return Answer("alarm", question, "Not measured", "open", [sentence(reason)])
    abnormal, right = f"{100 * point['prevalence']:.4g}", plain(alarms.expected["right"])
    wanted = stated_percent(point["false_positive_rate"])
    answer = f"Of 100 studies {plain(alarms.alarms)} raise an alarm, and {right} of those are right"
    sentences = [
        f"If {abnormal} of 100 studies are abnormal, {plain(alarms.expected['missed'])} of these {abnormal} raise no "
        "alarm.",
        f"An alarm is right in {figure_text(rates.get('ppv'), 'percent')}, silence in "
        f"{figure_text(rates.get('npv'), 'percent')}.",
        f"The threshold was set on normal images alone, to alarm on {wanted} of them.",
    ]
    ppv = rates.get("ppv")
    if has_interval(ppv) and ppv["low"] <= point["prevalence"]:
        sentences.insert(2, "That is not shown to be more than drawing studies at random would find.")
    return Answer("alarm", question, answer, "plain", sentences)


def _whom(report: Mapping[str, Any]) -> Answer:
    question = "For whom does it work worse?"
    gaps = report.get("gaps") or []
    tested = [gap for gap in gaps if gap.get("p_holm") is not None]
    if not tested:
        reasons = [gap["reason"] for gap in gaps if gap.get("reason")]
        return Answer(
            "whom", question, "Not compared", "open", [sentence(reasons[0] if reasons else "one cohort only")]
        )
    found = surviving_gaps(report)
    if not found:
        caution = (
            f"None of {len(tested)} comparisons survives Holm's correction. That is no proof of equality: "
            "the intervals say how large a gap could still be."
        )
        return Answer("whom", question, "No gap is established", "open", [caution])
    caution = f"{len(tested)} comparisons, corrected by Holm; a gap does not name its cause."
    return Answer("whom", question, f"{len(found)} of {len(tested)} comparisons show a gap", "bad", [caution], found)


def _limits(report: Mapping[str, Any]) -> Answer:
    items = limits_of_use(report, beats_metadata(report))
    return Answer("limits", "What not to use it for?", "Not for clinical use", "bad", [], items)


def sentence(reason: str) -> str:
    """A reason or verdict as a sentence: capital first, full stop last."""
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."
