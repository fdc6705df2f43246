"""From a matplotlib figure to inline SVG that follows the page: its colours, its font, its light and dark.

matplotlib draws with sentinel colours that stand for CSS variables of the page. Afterwards every ``style`` attribute
becomes a class, so that the page needs no inline styles and its Content-Security-Policy can forbid them.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK, MUTED, RULE, SURFACE = "#010a01", "#010a02", "#010a03", "#010a04"
ACCENT, WARM, GOOD, BAD = "#010a05", "#010a06", "#010a07", "#010a08"
SERIES = ("#010a11", "#010a12", "#010a13", "#010a14", "#010a15")

_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    SURFACE: "surface",
    ACCENT: "accent",
    WARM: "warm",
    GOOD: "good",
    BAD: "bad",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)},
}

_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: searchable, in the reader's font
    "svg.hashsalt": "vitad_med",
    "path.simplify": True,
    "font.size": 11.5,
    "font.family": "DejaVu Sans",  # matplotlib's own, so that the layout is the same on every machine
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 1,
    "axes.labelsize": 11.5,
    "axes.axisbelow": True,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 11,
    "figure.facecolor": "none",
    "figure.dpi": 72,
}
in_page_style = matplotlib.rc_context(_SETTINGS)
"""Decorator of a function that draws: matplotlib's settings are those of the page while it runs."""

_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_STYLE = re.compile(r' style="([^"]*)"')
_FONT = re.compile(r"font: ([^;]*?)([0-9.]+)px [^;]*")


@dataclass
class Styles:
    """Classes of all charts of a page: a declaration block and its class name, in order of first use."""

    names: dict[str, str] = field(default_factory=dict)

    def name(self, declarations: str) -> str:
        """The class that carries these declarations."""
        return self.names.setdefault(declarations, f"m{len(self.names)}")

    def css(self) -> str:
        """Rules of every class."""
        return "\n".join(f".{name} {{ {declarations} }}" for declarations, name in self.names.items())


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of a size in px with one pair of axes."""
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.04)
    figure = Figure(figsize=(width / 72, height / 72), layout=layout)
    return figure, figure.add_subplot()


def to_svg(figure: Figure, name: str, title: str, description: str, styles: Styles) -> str:
    """The figure as an ``<svg>`` element for a page; to be called within ``in_page_style``.

    Args:
        figure: made by ``new_axes``.
        name: unique on the page; prefix of every id.
        title: what the chart shows; read out first.
        description: what a reader who does not see it should know.
        styles: classes of the page, extended.
    """
    stream = io.StringIO()
    FigureCanvasSVG(figure).print_svg(stream, metadata=_NO_METADATA)
    drawn = stream.getvalue()
    opening = drawn.index("<svg")
    body = drawn[drawn.index(">", opening) + 1 : drawn.rindex("</svg>")]
    # Rules for the whole page in a chart's own style element: the page has them in its style sheet.
    body = re.sub(r"<style.*?</style>", "", body, flags=re.S)
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*</defs>", "", body, flags=re.S)
    body = _own_ids(body, name).replace("xlink:href", "href")
    body = _STYLE.sub(lambda match: f' class="{styles.name(_declarations(match[1]))}"', body)
    body = re.sub(r"\s*\n\s*", "\n", body).strip()
    width, height = (round(72 * side) for side in figure.get_size_inches())
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        f"\n{body}</svg>"
    )


def _declarations(style: str) -> str:
    """A style attribute with the page's colours, and its font left to the page."""
    style = _FONT.sub(lambda match: f"font-size: {match[2]}px" + _weight(match[1]), style)
    for colour, variable in _VARIABLES.items():
        style = style.replace(colour, f"var(--{variable})")
    return style


def _weight(prefix: str) -> str:
    return "; font-weight: 600" if re.search(r"bold|[6-9]00", prefix) else ""


def _own_ids(body: str, name: str) -> str:
    """Keep the ids that something refers to, prefixed: a page needs unique ones, and matplotlib repeats its own."""
    used = set(re.findall(r"#([A-Za-z][\w-]*)", " ".join(re.findall(r'(?:xlink:href="|url\()#[\w-]+', body))))
    body = re.sub(r' id="([^"]*)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", body)
    return re.sub(r'(xlink:href="|url\()#', rf"\g<1>#{name}-", body)
