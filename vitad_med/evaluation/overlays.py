"""Pictures of the best and the worst localized cases: the X-ray with its truth, and the heat map over it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vitad_med.data.case import Case
from vitad_med.data.image_io import read_image, resize
from vitad_med.evaluation.files import write_bytes
from vitad_med.evaluation.truth import truth_masks
from vitad_med.evaluation.verdict import format_figure
from vitad_med.metrics.metadata import age_band
from vitad_med.predictions.identifiers import Identifiers, public_names

_IMAGE_SIZE = 448
_CASES_IN_ROW = 3
# Inches.
_PANEL = 2.3
_GAP = 0.08
_CAPTION_HEIGHT = 0.48
_TITLE_HEIGHT = 0.32
_PAIR_WIDTH = 2 * (_PANEL + _GAP) + 0.1
_PAIR_HEIGHT = _PANEL + _CAPTION_HEIGHT + _GAP
_TRUTH_COLOUR = "#35e0ff"


def write_overlays(
    folder: str | Path,
    cases: Sequence[Case],
    scores: np.ndarray,
    maps: np.ndarray,
    pixel_auroc: np.ndarray,
    *,
    count: int = 6,
    identifiers: Identifiers = "hashed",
    identifier_key: bytes | None = None,
) -> list[Path]:
    """Write ``best.png`` and ``worst.png``, by the pixel AUROC within the image.

    Each heat map is scaled by itself, from its first to its 99.9th percentile, so colours compare places within an
    image and never two images.

    Args:
        folder: where the pictures go.
        cases: the L localized cases.
        scores: float [L], their image scores.
        maps: float [L, S, S].
        pixel_auroc: float [L], each image's own pixel AUROC; a case without one (NaN) is not shown.
        count: cases on each sheet; with fewer than twice as many cases each sheet shows half of them.
        identifiers: ``clear``, or ``hashed`` to show hashes and age bands only.
        identifier_key: secret of ``hashed``.

    Returns:
        The files written, none when there is no case to show.

    Raises:
        StorageError: a picture cannot be written.
        DataError: an image cannot be read.
    """
    names, _ = public_names(cases, identifiers, identifier_key)
    order = [int(i) for i in np.argsort(-pixel_auroc, kind="stable") if np.isfinite(pixel_auroc[i])]
    shown = min(count, (len(order) + 1) // 2)
    if not shown:
        return []
    sheets = {"best": order[:shown], "worst": order[len(order) - min(shown, len(order) - shown) :][::-1]}
    written = []
    for sheet, indices in sheets.items():
        if not indices:
            continue
        captions = [
            f"{names[i]}\n{_description(cases[i], identifiers)}\n"
            f"pixel AUROC {format_figure(pixel_auroc[i])}, image score {scores[i]:.4g}"
            for i in indices
        ]
        path = Path(folder) / f"{sheet}.png"
        title = f"{sheet.capitalize()} localized cases: truth outlined, heat map scaled within each image"
        write_bytes(path, draw_sheet(title, [cases[i] for i in indices], [maps[i] for i in indices], captions))
        written.append(path)
    return written


def draw_sheet(title: str, cases: Sequence[Case], maps: Sequence[np.ndarray], captions: Sequence[str]) -> bytes:
    """Draw pairs of panels, image with truth and image under its heat map.

    Args:
        title: of the sheet.
        cases: at least one.
        maps: float [S, S] for each case.
        captions: text over each pair, at most three lines.

    Returns:
        A PNG; the same input gives the same bytes.
    """
    rows, columns = -(-len(cases) // _CASES_IN_ROW), min(len(cases), _CASES_IN_ROW)
    width, height = columns * _PAIR_WIDTH + _GAP, rows * _PAIR_HEIGHT + _TITLE_HEIGHT
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(0.5, 1 - 0.5 * _TITLE_HEIGHT / height, title, fontsize=9, ha="center", va="center")
    for number, (case, heat, caption) in enumerate(zip(cases, maps, captions, strict=True)):
        x = _GAP + number % columns * _PAIR_WIDTH
        y = height - _TITLE_HEIGHT - (number // columns + 1) * _PAIR_HEIGHT + _GAP
        figure.text((x + _PANEL + _GAP / 2) / width, (y + _PANEL + 0.04) / height, caption, fontsize=7, ha="center")
        left, right = (
            figure.add_axes((start / width, y / height, _PANEL / width, _PANEL / height))
            for start in (x, x + _PANEL + _GAP)
        )
        image = resize(read_image(case.image_path), _IMAGE_SIZE).transpose(1, 2, 0)
        for axes in (left, right):
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(0, 1, 1, 0))
            axes.set_axis_off()
        low, high = np.percentile(heat, [1, 99.9])
        right.imshow(
            heat,
            cmap="inferno",
            alpha=0.5,
            vmin=low,
            vmax=max(high, low + 1e-12),
            extent=(0, 1, 1, 0),
            interpolation="bilinear",
        )
        for axes in (left, right):
            _outline_truth(axes, case, heat.shape[-1])
    stream = io.BytesIO()
    # Without this the file would name the version of matplotlib.
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def _outline_truth(axes: Axes, case: Case, size: int) -> None:
    if case.mask_path is not None:
        centres = (np.arange(size) + 0.5) / size
        mask = truth_masks([case], size)[0].astype(float)
        axes.contour(centres, centres, mask, levels=[0.5], colors=_TRUTH_COLOUR, linewidths=0.9)
    for box in case.boxes:
        axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, fill=False, edgecolor=_TRUTH_COLOUR, lw=1.1))


def _description(case: Case, identifiers: Identifiers) -> str:
    age = "" if case.age is None else f"{case.age:g} y" if identifiers == "clear" else f"{age_band(case.age)} y"
    known = [text for text in (case.sex, case.view) if text != "unknown"]
    findings = sorted({box.finding for box in case.boxes if box.finding}) or list(case.findings)
    return " ".join([*known, age]).strip() + (": " if known or age else "") + ", ".join(findings)
