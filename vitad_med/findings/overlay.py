"""The picture that people look at: the radiograph, the map in colour over it, regions outlined, what it is in words."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vitad_med.findings.finding import Finding
from vitad_med.findings.regions import Region

COLOURS = "inferno"
"""Perceptually even, also in grey print and for the colour-blind; its dark end is the radiograph's own black."""

OUTLINE = (0, 230, 230)
"""Cyan, which the colours of the map do not hold."""

OPAQUE = 0.6
"""Opacity of the highest value; the lowest is transparent, so that anatomy stays visible everywhere."""

TEXT_SHARE = 0.018
"""Height of a line of text in heights of the picture."""


def draw_overlay(
    picture: NDArray[np.uint8],
    values: NDArray[np.float32],
    regions: list[Region],
    finding: Finding,
    method: str,
) -> NDArray[np.uint8]:
    """Draw the overlay.

    Args:
        picture: the radiograph, uint8 [H, W], dark to light.
        values: the map at its geometry, float32 [H, W].
        regions: to outline and number.
        finding: whose result is written.
        method: what scored, for the caption.

    Returns:
        uint8 RGB [H, W, 3].
    """
    low, high = float(values.min()), float(values.max())
    canvas = Image.fromarray(_blend(picture, _levels(values, low, high)))
    draw = ImageDraw.Draw(canvas)
    height, width = picture.shape
    stroke = max(1, round(min(height, width) / 500))
    for number, region in enumerate(regions, start=1):
        # Coordinates are of pixels' corners, Pillow's of their centres.
        line = [(float(x) - 0.5, float(y) - 0.5) for x, y in region.polygon]
        draw.line(line, fill=(0, 0, 0), width=3 * stroke, joint="curve")
        draw.line(line, fill=OUTLINE, width=stroke, joint="curve")
        _number(draw, region, number, (height, width))
    _caption(canvas, finding, method, len(regions), (low, high))
    return np.asarray(canvas)


def _levels(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    return np.rint((values - np.float32(low)) * np.float32(255 / (high - low))).astype(np.uint8)


def _blend(picture: NDArray[np.uint8], levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each pair of a grey and a level has one colour: looked up, not computed pixel by pixel."""
    return _table()[(levels.astype(np.uint16) << 8) | picture]


@cache
def _table() -> NDArray[np.uint8]:
    """uint8 [65536, 3]: colour of level * 256 + grey."""
    level = np.linspace(0, 1, 256)
    colour = _colours()[:, None, :]
    opacity = OPAQUE * np.clip((level - 0.15) / 0.85, 0, 1)[:, None, None]
    grey = np.arange(256, dtype=np.float64)[None, :, None]
    return np.rint(grey * (1 - opacity) + colour * opacity).astype(np.uint8).reshape(-1, 3)


@cache
def _colours() -> NDArray[np.float64]:
    return np.asarray(colormaps[COLOURS](np.arange(256))[:, :3]) * 255


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings the font, so that the same bytes come from every machine.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf", size)


def _number(draw: ImageDraw.ImageDraw, region: Region, number: int, shape: tuple[int, int]) -> None:
    size = _size(shape)
    top, _, left, _ = region.box
    text = str(number)
    x = min(max(left, 2), shape[1] - draw.textlength(text, _font(size)) - 2)
    y = top - 1.4 * size if top > 1.5 * size else top + 0.2 * size
    draw.text((x, y), text, fill=OUTLINE, font=_font(size), stroke_width=max(1, size // 8), stroke_fill=(0, 0, 0))


def _size(shape: tuple[int, int]) -> int:
    return max(8, round(TEXT_SHARE * shape[0]))


def _caption(canvas: Image.Image, finding: Finding, method: str, regions: int, span: tuple[float, float]) -> None:
    """Notice and result above, the scale of the colours below, on darkened strips that let the picture through."""
    above = ["NOT FOR CLINICAL USE", f"Anomaly detection, {method}: {_result(finding, regions)}"]
    below = [
        f"Anomaly map: {span[0]:.3g} to {span[1]:.3g}, lowest to highest of this image",
        "A score, not the probability of a disease",
    ]
    if span[0] == span[1]:
        below[0] = f"Anomaly map: {span[0]:.3g} everywhere"
    width, height = canvas.size
    size = _size((height, width))
    longest = max(_font(100).getlength(line) / 100 for line in (*above, *below))
    size = max(6, min(size, int(0.92 * width / longest)))
    margin, step, bar = round(0.6 * size), round(1.35 * size), round(0.8 * size)
    strip = 2 * margin + 2 * step
    _darken(canvas, 0, strip)
    _darken(canvas, height - strip - bar - margin, height)
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(above):
        draw.text((margin, margin + number * step), line, fill=(255, 255, 255), font=_font(size))
    top = height - strip - bar
    for number, line in enumerate(below):
        draw.text((margin, top + bar + margin + number * step), line, fill=(255, 255, 255), font=_font(size))
    _bar(canvas, (margin, top), (min(16 * size, width - 2 * margin), bar))


def _darken(canvas: Image.Image, top: int, bottom: int) -> None:
    box = (0, max(0, top), canvas.width, min(canvas.height, bottom))
    canvas.paste(canvas.crop(box).point(lambda value: value * 0.35), box)


def _bar(canvas: Image.Image, place: tuple[int, int], size: tuple[int, int]) -> None:
    """The scale, as the colours look over a middle grey."""
    levels = np.linspace(0, 255, size[0]).astype(np.uint8)
    strip = _blend(np.full((size[1], size[0]), 96, dtype=np.uint8), np.repeat(levels[None], size[1], axis=0))
    canvas.paste(Image.fromarray(strip), place)
    corner = (place[0] + size[0] - 1, place[1] + size[1] - 1)
    ImageDraw.Draw(canvas).rectangle((*place, *corner), outline=(255, 255, 255))


def _result(finding: Finding, regions: int) -> str:
    score = f"score {finding.score:.6g}"
    if finding.threshold is None:
        return f"{score}, no threshold"
    if finding.flagged is None:
        return f"not judged, outside of intended use, {score}"
    p_value = "outside of intended use" if finding.p_value is None else f"p = {finding.p_value:.3g}"
    if finding.flagged:
        return f"FLAGGED, {score} above {finding.threshold:.6g}, {p_value}"
    return f"nothing flagged, {score} not above {finding.threshold:.6g}, {p_value}"
