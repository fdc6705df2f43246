"""Does method B localize better than method A? One plain sentence for each cohort."""

from __future__ import annotations

from vitad_med.comparison.document import ComparedFigure, ComparedVerdict
from vitad_med.evaluation.verdict import format_figure
from vitad_med.reporting.document.wording import difference_text, p_text


def localizes_better(name: str, compared: ComparedFigure, level: float) -> ComparedVerdict:
    """The answer from the paired difference in ``conditioned_auroc``.

    ``yes`` when the whole interval lies above 0 and the p-value, adjusted for all cohorts, is below 1 - level; ``no``
    when it lies below 0 in the same way, or when the methods do not differ at all; else ``cannot tell``.

    Args:
        name: the cohort in words.
        compared: its conditioned AUROC.
        level: of the interval.
    """
    a, b, difference = compared["a"]["value"], compared["b"]["value"], compared["difference"]
    claim = f"In {name}, B localizes better than A"
    if a is None or b is None or difference["value"] is None:
        return {"answer": "cannot tell", "sentence": f"{claim}: cannot tell, {difference['reason']}"}
    figures = f"{format_figure(b)} against {format_figure(a)}"
    low, high, p_holm = difference["low"], difference["high"], compared["p_holm"]
    if low is None or high is None or p_holm is None:
        return {"answer": "cannot tell", "sentence": f"{claim}: cannot tell, too few patients ({figures})"}
    if low == high == 0:
        return {"answer": "no", "sentence": f"{claim}: no, they do not differ ({figures})"}
    shown = f"{figures}, difference {difference_text(difference)}, p {p_text(p_holm)}"
    if p_holm < 1 - level and low > 0:
        return {"answer": "yes", "sentence": f"{claim}: yes ({shown})"}
    if p_holm < 1 - level and high < 0:
        return {"answer": "no", "sentence": f"{claim}: no, A localizes better ({shown})"}
    return {"answer": "cannot tell", "sentence": f"{claim}: cannot tell ({shown})"}
