"""The effect of position: nine fields of the image, each shaded by its figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitad_med.reporting.page.numbers import Cell, count, figure_cell, has_value

SHADES = 6
_CHANCE, _BEST = 0.5, 0.75


@dataclass(frozen=True)
class Field:
    """One field: its name, figure, number of images, and shade from 0 (chance or no figure) to 5."""

    name: str
    cell: Cell
    images: str
    shade: int


def position_grid(report: Mapping[str, Any]) -> list[list[Field | None]]:
    """Three rows of three fields as the image is seen; empty where the report has none."""
    entries = (report.get("effects") or {}).get("position") or []
    if not entries:
        return []
    grid: list[list[Field | None]] = [[None] * 3 for _ in range(3)]
    for entry in entries:
        figure = entry.get("conditioned_auroc")
        grid[entry["row"]][entry["column"]] = Field(
            entry["group"], figure_cell(figure), count(entry.get("images")), _shade(figure)
        )
    return grid


def _shade(figure: Mapping[str, Any] | None) -> int:
    if figure is None or not has_value(figure):
        return 0
    share = (figure["value"] - _CHANCE) / (_BEST - _CHANCE)
    return min(SHADES - 1, max(0, round(share * (SHADES - 1))))
