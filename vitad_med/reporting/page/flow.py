"""The flow diagram: which images and patients were read, left out, and used for what (STROBE, TRIPOD+AI item 20a)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitad_med.reporting.page.numbers import count

WIDTH = 480
_HALF, _GUTTER, _LEAF = 226, 28, 109
_LINE, _PADDING, _GAP = 16, 11, 26
_WRAP = 34


@dataclass(frozen=True)
class Box:
    """A box of the diagram in px; the first line is its heading."""

    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]
    quiet: bool = False

    @property
    def baselines(self) -> list[tuple[int, str]]:
        """Height and text of each line."""
        return [(self.y + _PADDING + 11 + _LINE * number, line) for number, line in enumerate(self.lines)]


@dataclass(frozen=True)
class Flow:
    """The diagram: boxes, arrows as SVG paths, its height, and the same in words."""

    boxes: list[Box]
    arrows: list[str]
    width: int
    height: int
    description: str


def flow_diagram(flow: Mapping[str, Any]) -> Flow:
    """Lay the diagram out.

    Args:
        flow: the report's ``flow``; counts that are null are withheld, absent parts left out.
    """
    boxes: list[Box] = []
    arrows: list[str] = []
    right = _HALF + _GUTTER

    def place(x: int, y: int, width: int, lines: list[str], *, quiet: bool = False) -> Box:
        box = Box(x, y, width, 2 * _PADDING + _LINE * len(lines) - 2, tuple(lines), quiet)
        boxes.append(box)
        return box

    read = place(0, 1, _HALF, _lines("Read", flow.get("read")))
    excluded = place(right, 1, _HALF, _exclusions(flow.get("excluded") or []), quiet=True)
    arrows.append(f"M{_HALF} {read.y + 28}H{right - 2}")
    top = max(read.y + read.height, excluded.y + excluded.height) + _GAP
    evaluated = place(0, top, _HALF, _lines("Evaluated", flow.get("evaluated")))
    arrows.append(f"M{_HALF // 2} {read.y + read.height}V{top - 2}")

    bottom = evaluated.y + evaluated.height
    for x, name, parts in (
        (0, "normal", (("calibration", "Calibration"), ("check", "Check"))),
        (right, "abnormal", (("localized", "Localized"), ("not_localized", "Not localized"))),
    ):
        if flow.get(name) is None:
            continue
        top = evaluated.y + evaluated.height + _GAP
        branch = place(x, top, _HALF, _lines(name.capitalize(), flow[name]))
        arrows.append(_elbow(evaluated, branch))
        bottom = max(bottom, branch.y + branch.height)
        for number, (key, heading) in enumerate(parts):
            if flow.get(key) is None:
                continue
            leaf_x = x + number * (_HALF - _LEAF)
            leaf = place(leaf_x, top + branch.height + _GAP, _LEAF, _lines(heading, flow[key]))
            arrows.append(f"M{leaf_x + _LEAF // 2} {top + branch.height}V{leaf.y - 2}")
            bottom = max(bottom, leaf.y + leaf.height)
    description = "; ".join(": ".join([box.lines[0], ", ".join(box.lines[1:])]) for box in boxes)
    return Flow(boxes, arrows, WIDTH, bottom + 2, f"{description}.")


def counts_text(counts: Mapping[str, Any] | None) -> list[str]:
    """Images and patients in words."""
    if counts is None:
        return ["not known"]
    return [f"{count(counts.get(unit))} {unit}" for unit in ("images", "patients")]


def _lines(heading: str, counts: Mapping[str, Any] | None) -> list[str]:
    return [heading, *counts_text(counts)]


def _exclusions(excluded: list[Mapping[str, Any]]) -> list[str]:
    if not excluded:
        return ["Excluded", "none"]
    lines = ["Excluded"]
    for entry in excluded:
        lines += textwrap.wrap(f"{entry['reason']}: {', '.join(counts_text(entry))}", _WRAP)
    return lines


def _elbow(parent: Box, child: Box) -> str:
    start, end = parent.x + parent.width // 2, child.x + child.width // 2
    bottom = parent.y + parent.height
    return f"M{start} {bottom}V{bottom + _GAP // 2}H{end}V{child.y - 2}"
