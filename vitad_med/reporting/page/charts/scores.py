"""Distribution of image scores, normal and abnormal, with the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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

SIZE = (450, 320)


@in_page_style
def score_chart(distributions: Mapping[str, Any] | None, threshold: float | None, styles: Styles) -> str:
    """Histograms as shares of each class, so that classes of different size compare; nothing without counts.

    Bins whose count is suppressed stay empty.

    Args:
        distributions: ``{"edges": [K + 1], "normal": [K], "abnormal": [K]}``.
        threshold: score from which on an image is flagged.
        styles: classes of the page.
    """
    if not distributions or len(distributions.get("edges") or ()) < 2:
        return ""
    edges = np.asarray(distributions["edges"], dtype=float)
    classes = {name: _shares(distributions.get(name) or ()) for name in ("normal", "abnormal")}
    drawn = {name: shares for name, shares in classes.items() if len(shares) == len(edges) - 1 and shares.sum() > 0}
    if not drawn:
        return ""
    figure, axes = new_axes(*SIZE)
    for name, shares in drawn.items():
        colour = {"normal": ACCENT, "abnormal": WARM}[name]
        axes.stairs(100 * shares, edges, fill=True, color=colour, alpha=0.18, lw=0)
        axes.stairs(
            100 * shares, edges, color=colour, lw=1.8, label=name, ls="solid" if name == "normal" else (0, (5, 2))
        )
    description = ". ".join(
        f"Most {name} images score near {_mode(edges, shares):.3g}" for name, shares in drawn.items()
    )
    if threshold is not None:
        axes.axvline(threshold, color=INK, lw=1.4)
        left = threshold > edges.mean()
        axes.annotate(
            f"threshold {threshold:.4g}",
            (threshold, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if left else 5, -4),
            textcoords="offset points",
            ha="right" if left else "left",
            va="top",
            color=INK,
        )
        description += f". The threshold is {threshold:.4g}"
    axes.set_xlabel("image score", color=INK)
    axes.set_ylabel("% of the class", color=INK)
    axes.set_ylim(0, 112 * max(shares.max() for shares in drawn.values()))  # room for the threshold's label
    axes.margins(x=0.01)
    axes.grid(axis="y", color=RULE, lw=0.6)
    axes.tick_params(length=0, labelcolor=MUTED)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, handlelength=2.2, borderaxespad=0.2)
    return to_svg(figure, "scores", "Image scores of normal and abnormal images", f"{description}.", styles)


def _shares(counts: Sequence[int | None]) -> np.ndarray:
    known = np.array([count or 0 for count in counts], dtype=float)
    return known / max(known.sum(), 1)


def _mode(edges: np.ndarray, shares: np.ndarray) -> float:
    top = int(shares.argmax())
    return float(edges[top] + edges[top + 1]) / 2
