"""Forest plots: one line a cohort, its figure with interval, and what it has to beat."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vitad_med.reporting.page.charts.canvas import (
    ACCENT,
    INK,
    MUTED,
    RULE,
    WARM,
    Styles,
    in_page_style,
    new_axes,
    to_svg,
)
from vitad_med.reporting.page.numbers import Figure, figure_text, fraction, has_interval, has_value

WIDTH = 450
_LINE = 28
_FRAME, _LEGEND = 50, 24
_LONGEST_LABEL = 24


@dataclass(frozen=True)
class Line:
    """One line of the plot: a figure, and optionally the null figure that it is read against."""

    label: str
    figure: Figure | None
    null: Figure | None = None


@in_page_style
def forest(
    name: str,
    title: str,
    lines: Sequence[Line],
    *,
    axis: str,
    reference: float,
    styles: Styles,
    null_name: str = "",
    signed: bool = False,
) -> str:
    """A forest plot as inline SVG, or nothing where no line has a figure.

    Args:
        name: unique on the page.
        title: what the plot shows.
        lines: from top to bottom.
        axis: label of the horizontal axis.
        reference: where the vertical line of "no information" stands.
        styles: classes of the page.
        null_name: what the diamonds are; empty without diamonds.
        signed: whether figures are differences.
    """
    if not any(has_value(line.figure) for line in lines):
        return ""
    figure, axes = new_axes(WIDTH, _FRAME + (_LEGEND if null_name else 0) + _LINE * len(lines))
    heights = np.arange(len(lines))[::-1].astype(float)
    axes.axvline(reference, color=MUTED, lw=1, ls=(0, (3, 3)), zorder=0)
    for height, line in zip(heights, lines, strict=True):
        _draw(axes, height, line, signed)
    labels = [textwrap.fill(line.label, _LONGEST_LABEL, max_lines=2, placeholder=" …") for line in lines]
    axes.set_yticks(heights, labels, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.7, len(lines) - 0.3)
    axes.set_xlim(*_limits(lines, reference))
    axes.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, signed)))
    axes.grid(axis="x", color=RULE, lw=0.6)
    axes.set_xlabel(axis)
    if null_name:
        handles = [
            Line2D([], [], color=ACCENT, marker="s", ms=5, lw=1.8, label="this method"),
            Line2D([], [], color=WARM, marker="D", ms=5, mfc="none", mew=1.4, lw=0, label=null_name),
        ]
        axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, handletextpad=0.5)
    return to_svg(figure, name, title, describe(lines, null_name, signed), styles)


def describe(lines: Sequence[Line], null_name: str, signed: bool) -> str:
    """The figures of the plot in words."""
    parts = []
    for line in lines:
        null = f", {null_name} {figure_text(line.null)}" if null_name and has_value(line.null) else ""
        parts.append(f"{line.label}: {figure_text(line.figure, signed=signed)}{null}")
    return "; ".join(parts) + "."


def _draw(axes: Axes, height: float, line: Line, signed: bool) -> None:
    def write(text: str, colour: str) -> None:
        place = (1.03, height)
        axes.annotate(
            text,
            place,
            xycoords=("axes fraction", "data"),
            va="center",
            annotation_clip=False,
            color=colour,
            fontsize=10.5,
        )

    if line.null is not None and has_value(line.null):
        axes.plot(line.null["value"], height, marker="D", ms=5, mfc="none", mec=WARM, mew=1.4, lw=0, zorder=2)
    if line.figure is None or not has_value(line.figure):
        write("too few", MUTED)
        return
    if has_interval(line.figure):
        axes.plot([line.figure["low"], line.figure["high"]], [height, height], color=ACCENT, lw=1.8, zorder=3)
    axes.plot(line.figure["value"], height, marker="s", ms=5, color=ACCENT, lw=0, zorder=4)
    write(figure_text(line.figure, signed=signed), INK)


def _limits(lines: Sequence[Line], reference: float) -> tuple[float, float]:
    ends = [reference]
    for line in lines:
        for figure in (line.figure, line.null):
            if figure is not None:
                ends += [figure[key] for key in ("value", "low", "high") if figure.get(key) is not None]
    low, high = min(ends), max(ends)
    margin = max(0.02, 0.06 * (high - low))
    return low - margin, high + margin


def _tick(value: float, signed: bool) -> str:
    text = fraction(value, signed=signed)
    return "0" if float(value) == 0 else text[:-1] if text.endswith("0") else text
