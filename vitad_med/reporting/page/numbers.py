"""Figures as a reader meets them: three decimals, the interval beside them, and a reason where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

Figure = Mapping[str, Any]
"""``{"value", "low", "high", "n", "reason"}``, see ``vitad_med.evaluation.document.Value``."""

NOTHING = "\N{EN DASH}"
PERCENT = "\N{NARROW NO-BREAK SPACE}%"
_NARROW = 2  # an interval of fewer units would vanish without a decimal
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Cell:
    """One figure of a table: its text, the interval under it, and what a reader should know of it."""

    text: str
    interval: str = ""
    note: str = ""


def has_value(figure: Figure | None) -> TypeGuard[Figure]:
    """Whether a figure exists."""
    return figure is not None and figure.get("value") is not None


def has_interval(figure: Figure | None) -> TypeGuard[Figure]:
    """Whether a figure has both ends of an interval."""
    return figure is not None and figure.get("low") is not None and figure.get("high") is not None


def fraction(value: float, *, signed: bool = False) -> str:
    """Three decimals without the leading zero, as papers print figures between 0 and 1: ``.563``."""
    text = f"{abs(value):.3f}".removeprefix("0")
    if float(text) == 0:
        return ".000"
    if value < 0:
        return MINUS + text
    return f"+{text}" if signed else text


def percent(value: float, decimals: int | None = None) -> str:
    """A share in percent, by default with one decimal below ten: ``24 %``, ``5.5 %``."""
    return f"{plain(100 * value, decimals)}{PERCENT}"


def stated_percent(value: float) -> str:
    """A share that was chosen rather than measured, without needless decimals: ``5 %``."""
    return f"{100 * value:.4g}{PERCENT}"


def plain(value: float, decimals: int | None = None) -> str:
    """A count or rate, by default with one decimal below ten: ``9.6``, ``14``."""
    return f"{value:.{_decimals(value) if decimals is None else decimals}f}"


def figure_cell(figure: Figure | None, style: str = "fraction", *, signed: bool = False) -> Cell:
    """A figure with its interval for a table cell.

    Args:
        figure: a figure; None where the report has no such key.
        style: ``fraction``, ``percent`` or ``plain``.
        signed: whether to write a plus before positive numbers; for differences.
    """
    if figure is None:
        return Cell(NOTHING)
    if not has_value(figure):
        return Cell(NOTHING, note=figure.get("reason") or "not computed")
    show = _shower(figure, style, signed)
    if not has_interval(figure):
        return Cell(show(figure["value"]), note="too few patients for an interval")
    low, high = show(figure["low"]), show(figure["high"])
    return Cell(show(figure["value"]), interval=f"{low.removesuffix(PERCENT)} to {high}")


def figure_text(figure: Figure | None, style: str = "fraction", *, signed: bool = False) -> str:
    """A figure with its interval for a sentence: ``.563 (.512 to .611)``; the reason where there is none."""
    cell = figure_cell(figure, style, signed=signed)
    if cell.text == NOTHING:
        return cell.note or "not computed"
    return f"{cell.text} ({cell.interval})" if cell.interval else cell.text


def count(value: int | None) -> str:
    """A count with a thin space between thousands; ``withheld`` where it is suppressed."""
    return "withheld" if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def probability(value: float | None) -> str:
    """A p-value: three decimals, ``<.001`` below."""
    if value is None:
        return NOTHING
    return "<.001" if value < 0.001 else "1" if value >= 0.9995 else fraction(value)


def short_digest(digest: str | None) -> str:
    """The first twelve digits of a digest."""
    return NOTHING if not digest else digest[:12]


def _shower(figure: Figure, style: str, signed: bool) -> Callable[[float], str]:
    """How to write a figure and the ends of its interval: all with the same decimals."""
    if style == "fraction":
        return lambda value: fraction(value, signed=signed)
    scale, write = (100, percent) if style == "percent" else (1, plain)
    narrow = has_interval(figure) and scale * (figure["high"] - figure["low"]) < _NARROW
    decimals = 1 if narrow else _decimals(scale * figure["value"])
    return lambda value: write(value, decimals)


def _decimals(value: float) -> int:
    return 1 if round(abs(value), 1) < 10 else 0
