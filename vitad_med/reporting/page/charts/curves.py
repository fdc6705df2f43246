"""ROC and FROC curves with bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from vitad_med.evaluation.cohorts import ALL
from vitad_med.reporting.page.charts.canvas import (
    ACCENT,
    INK,
    MUTED,
    RULE,
    SERIES,
    WARM,
    Styles,
    in_page_style,
    new_axes,
    to_svg,
)
from vitad_med.reporting.page.names import axes_of
from vitad_med.reporting.page.numbers import fraction, percent

SIZE = (450, 420)
Curve = Mapping[str, Any]
"""``{"x": [...], "y": [...], "low": [...] or null, "high": [...] or null}``."""

_DASHES = ((0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 1)), "solid")
_FROC_TICKS = (0.125, 0.25, 0.5, 1, 2, 4, 8)
_FROC_TICK_NAMES = ("⅛", "¼", "½", "1", "2", "4", "8")


@in_page_style
def roc_chart(
    curves: Mapping[str, Curve],
    names: Mapping[str, str],
    point: tuple[float, float] | None,
    styles: Styles,
) -> str:
    """ROC of all images with its band, cohorts as thin lines, and the operating point; nothing without a curve.

    Args:
        curves: cohort -> curve.
        names: cohort -> its name.
        point: false-positive rate and sensitivity at the threshold.
        styles: classes of the page.
    """
    if not _drawable(curves.get(ALL)):
        return ""
    figure, axes = new_axes(*SIZE)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (3, 3)))
    _cohort_lines(axes, curves, names)
    _main_line(axes, curves[ALL], "all images")
    description = f"ROC curve of all images: sensitivity {_readings(curves['all'], (0.05, 0.1, 0.2, 0.5))}."
    if point is not None:
        axes.plot(*point, marker="o", ms=9, mfc="none", mec=WARM, mew=2, lw=0, label="threshold", zorder=6)
        description += f" At the threshold: {percent(point[0])} false positives, sensitivity {percent(point[1])}."
    _share_axes(axes)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "20", "40", "60", "80", "100"])
    axes.set_xlabel("false positives, % of normal images")
    axes.set_ylabel("sensitivity, % of abnormal images")
    axes.legend(loc="lower right", handlelength=2.2)
    return to_svg(figure, "roc", "ROC of the image score", description, styles)


@in_page_style
def froc_chart(
    curves: Mapping[str, Curve],
    nulls: Mapping[str, Curve],
    names: Mapping[str, str],
    null_names: Mapping[str, str],
    styles: Styles,
) -> str:
    """FROC of all images with its band, and the null maps as thin lines; nothing without a curve."""
    if not _drawable(curves.get(ALL)):
        return ""
    figure, axes = new_axes(*SIZE)
    drawn = [(key, curve) for key, curve in nulls.items() if _drawable(curve)][: len(_DASHES)]
    for (key, curve), dash in zip(drawn, _DASHES, strict=False):
        axes.plot(curve["x"], curve["y"], color=WARM, lw=1.3, ls=dash, label=null_names.get(key, key))
    _cohort_lines(axes, curves, names)
    _main_line(axes, curves[ALL], "this method, all images")
    _share_axes(axes)
    if max(curves[ALL]["x"]) >= 1:
        axes.set_xscale("log", base=2)
        axes.set_xlim(_FROC_TICKS[0], _FROC_TICKS[-1])
        axes.xaxis.set_major_locator(FixedLocator(_FROC_TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        by_tick = dict(zip(_FROC_TICKS, _FROC_TICK_NAMES, strict=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: by_tick.get(value, "")))
    axes.set_xlabel("false positives per normal image")
    axes.set_ylabel("sensitivity, % of localized images")
    axes.legend(loc="upper left", handlelength=2.2)
    readings = _readings(curves[ALL], (0.25, 1, 4), " false positives per normal image")
    return to_svg(figure, "froc", "FROC of the maps", f"FROC curve: sensitivity {readings}.", styles)


def thin_lines(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The cohorts that are drawn beside all images: those of the first axis, at most as many as can be told apart."""
    drawable = {key: curve for key, curve in curves.items() if key != ALL and _drawable(curve)}
    axes = axes_of(next(iter(drawable), ALL))
    return dict([(key, curve) for key, curve in drawable.items() if axes_of(key) == axes][: len(SERIES)])


def curve_note(curves: Mapping[str, Curve]) -> str:
    """A sentence for the caption where report.json has curves that are not drawn."""
    left_out = sum(_drawable(curve) for key, curve in curves.items() if key != ALL) - len(thin_lines(curves))
    return f"Curves of {left_out} more cohorts are in report.json." if left_out > 0 else ""


def _drawable(curve: Curve | None) -> bool:
    return bool(curve and curve.get("x") and curve.get("y"))


def _main_line(axes: Axes, curve: Curve, label: str) -> None:
    if curve.get("low") and curve.get("high"):
        axes.fill_between(curve["x"], curve["low"], curve["high"], color=ACCENT, alpha=0.18, lw=0, zorder=3)
    axes.plot(curve["x"], curve["y"], color=ACCENT, lw=2.2, label=label, zorder=5)


def _cohort_lines(axes: Axes, curves: Mapping[str, Curve], names: Mapping[str, str]) -> None:
    for (key, curve), colour, dash in zip(thin_lines(curves).items(), SERIES, _DASHES, strict=False):
        axes.plot(curve["x"], curve["y"], color=colour, lw=1.3, ls=dash, label=names.get(key, key), zorder=4)


def _share_axes(axes: Axes) -> None:
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "20", "40", "60", "80", "100"])
    axes.grid(color=RULE, lw=0.6)
    axes.tick_params(length=0)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def _readings(curve: Curve, positions: Sequence[float], unit: str = "") -> str:
    """Heights of a curve at some positions, in words."""
    reached = [x for x in positions if min(curve["x"]) <= x <= max(curve["x"])]
    heights = np.interp(reached, curve["x"], curve["y"])
    parts = [
        f"{percent(height)} at {f'{x:g}{unit}' if unit else fraction(x)}"
        for x, height in zip(reached, heights, strict=True)
    ]
    return ", ".join(parts) or "outside the drawn range"
