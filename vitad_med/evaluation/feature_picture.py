"""Features in two dimensions by t-SNE, and their picture by type (the paper's Figure 5, AAAI 2023)."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import threadpoolctl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from vitad_med.errors import DataError

PERPLEXITY = 30.0
COMPONENTS = 50  # kept before t-SNE, as its authors do
MIN_IMAGES = 6

NORMAL, SYNTHETIC, ABNORMAL = "normal", "synthetic anomaly", "abnormal"
# Okabe and Ito's colours, which people with any colour vision tell apart; markers differ too. The paper's normals are
# green.
_STYLES = {NORMAL: ("#009E73", "o"), SYNTHETIC: ("#E69F00", "^"), ABNORMAL: ("#0072B2", "s")}
_TYPES = (("#0072B2", "s"), ("#D55E00", "D"), ("#CC79A7", "v"), ("#56B4E9", "P"), ("#000000", "X"), ("#999999", "<"))
MAX_TYPES = len(_TYPES)

_WIDTH, _HEIGHT = 7.2, 6.6  # inches
_PLOT = (0.04, 0.23, 0.92, 0.71)
_DPI = 150
_LINE = 118  # characters of the caption in the width of the picture
_TURNS = 8


def perplexity_of(images: int) -> float:
    """The perplexity that suits a number of images: ``PERPLEXITY``, and less than a third of few images."""
    return min(PERPLEXITY, (images - 1) / 3)


def tsne(features: NDArray[np.float32], seed: int = 0) -> NDArray[np.float64]:
    """Two coordinates of each image; the same features and seed give the same ones, to the last bit on one machine.

    Args:
        features: [N, D].
        seed: of t-SNE's optimisation.

    Returns:
        float64 [N, 2], without unit: only who is near whom means something.

    Raises:
        DataError: fewer than ``MIN_IMAGES`` images.
    """
    if len(features) < MIN_IMAGES:
        raise DataError(f"t-SNE of {len(features)} images shows nothing: give at least {MIN_IMAGES}.")
    # Threads of scikit-learn add up their parts in no fixed order.
    with threadpoolctl.threadpool_limits(1):
        kept = min(COMPONENTS, *features.shape)
        reduced = PCA(kept, svd_solver="full").fit_transform(features.astype(np.float64))
        embedding = TSNE(2, perplexity=perplexity_of(len(features)), init="pca", random_state=seed)
        return np.asarray(embedding.fit_transform(reduced), dtype=np.float64)


def draw(points: NDArray[np.float64], groups: Sequence[str], title: str, caption: Sequence[str]) -> bytes:
    """A picture of the images as points, by group.

    Args:
        points: [N, 2].
        groups: [N]; ``NORMAL``, ``SYNTHETIC``, ``ABNORMAL`` or the names of up to ``MAX_TYPES`` types of anomaly.
        title: above the picture.
        caption: paragraphs below it, as a rule at most five.

    Returns:
        A PNG; the same input gives the same bytes.
    """
    figure = Figure(figsize=(_WIDTH, _HEIGHT), facecolor="white", dpi=_DPI)
    axes = figure.add_axes(_PLOT)
    names = np.asarray(groups)
    # In turns, so that no group lies on top of all others.
    for turn in range(_TURNS):
        for name, (colour, marker) in _styles(groups).items():
            chosen = np.flatnonzero(names == name)
            x, y = points[chosen[turn::_TURNS]].T
            axes.scatter(
                x,
                y,
                s=20,
                c=colour,
                marker=marker,
                alpha=0.8,
                linewidths=0.3,
                edgecolors="white",
                label=f"{name} ({len(chosen)})" if turn == 0 else None,
            )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(fontsize=8, framealpha=0.9, loc="best")
    figure.text(0.5, 0.965, title, fontsize=10, ha="center", va="center")
    lines = [part for line in caption for part in textwrap.wrap(line, _LINE, subsequent_indent="    ")]
    figure.text(0.04, 0.215, "\n".join(lines), fontsize=7, ha="left", va="top", linespacing=1.3)
    stream = io.BytesIO()
    # Without this the file would name the version of matplotlib.
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def _styles(groups: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """Colour and marker of each group, normal and synthetic first, then types in the order of their names."""
    present = set(groups)
    fixed = {name: style for name, style in _STYLES.items() if name in present}
    types = sorted(present - _STYLES.keys())
    return fixed | dict(zip(types, _TYPES, strict=False))
