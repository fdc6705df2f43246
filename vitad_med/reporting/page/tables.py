"""Tables of the page: figures of the report as cells, one table a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitad_med.evaluation.cohorts import ALL
from vitad_med.reporting.page.names import LOCALIZATION, METRICS, axes_of, metric_name, null_key, null_name
from vitad_med.reporting.page.numbers import (
    NOTHING,
    Cell,
    count,
    figure_cell,
    has_value,
    probability,
    stated_percent,
)


@dataclass(frozen=True)
class TableRow:
    """A row: its header, its cells, and whether a line sets it off from the row above."""

    header: str
    cells: list[Cell]
    starts_group: bool = False
    strong: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first column heads the rows.

    Attributes:
        text_columns: positions of columns of words, which are set left; figures are set right.
        notes: column -> what it is, for the line under the table.
    """

    caption: str
    columns: tuple[str, ...]
    rows: list[TableRow]
    text_columns: tuple[int, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def footnotes(self) -> dict[str, str]:
        """Reason why a cell has no figure -> its letter, in order of first appearance."""
        reasons = [cell.note for row in self.rows for cell in row.cells if cell.text == NOTHING and cell.note]
        return {reason: _letter(number) for number, reason in enumerate(dict.fromkeys(reasons))}


def _letter(number: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    first, last = divmod(number, 26)
    return (_letter(first - 1) if first else "") + chr(ord("a") + last)


def image_table(report: Mapping[str, Any]) -> Table:
    """Normal against abnormal, every cohort, beside what metadata alone say."""
    metrics = ("image_auroc", "metadata_null_auroc", "image_auroc_conditioned", "image_ap")
    rows = []
    for key, cohort, first in _by_axis(report["cohorts"]):
        counts = [count(cohort.get(name)) for name in ("n_images", "n_patients", "n_normal", "n_abnormal")]
        figures = [figure_cell((cohort.get("image") or {}).get(metric)) for metric in metrics]
        rows.append(TableRow(cohort["name"], [*map(Cell, counts), *figures], first, strong=key == ALL))
    return Table(
        "Normal or abnormal: the image score in every cohort",
        ("Cohort", "Images", "Patients", "Normal", "Abnormal", "AUROC", "Metadata alone", "Within view and age", "AP"),
        rows,
        notes={
            "Metadata alone": METRICS["metadata_null_auroc"][1],
            "Within view and age": METRICS["image_auroc_conditioned"][1],
        },
    )


def operating_table(report: Mapping[str, Any]) -> Table | None:
    """Rates at the threshold in every cohort; None where there are none."""
    point = report.get("operating_point") or {}
    rates = point.get("cohorts") or {}
    styles = {
        "false_positive_rate": "percent",
        "sensitivity": "percent",
        "alarms_per_100": "plain",
        "ppv": "percent",
        "npv": "percent",
    }
    rows = [
        TableRow(
            cohort["name"],
            [figure_cell(rates[key].get(name), style) for name, style in styles.items()],
            first,
            key == ALL,
        )
        for key, cohort, first in _by_axis(report["cohorts"])
        if key in rates
    ]
    if not rows:
        return None
    columns = ("Cohort", "False positives", "Sensitivity", "Alarms per 100 studies", "PPV", "NPV")
    prevalence = stated_percent(point.get("prevalence") or report["settings"]["prevalence"])
    return Table(
        f"At the threshold, in every cohort; alarms, PPV and NPV at a prevalence of {prevalence}", columns, rows
    )


def localization_table(report: Mapping[str, Any]) -> Table:
    """The primary figure of every cohort beside the null map that it has to beat."""
    rows = []
    for key, cohort, first in _by_axis(report["cohorts"]):
        own, verdict = cohort.get("localization") or {}, cohort.get("verdict") or {}
        name, figure = best_null(cohort)
        cells = [
            Cell(count(cohort.get("n_localized"))),
            figure_cell(own.get("conditioned_auroc")),
            Cell(NOTHING) if name is None else Cell(figure_cell(figure).text, interval=null_name(name)),
            figure_cell(verdict.get("difference"), signed=True),
            Cell(verdict.get("answer") or NOTHING),
            *(figure_cell(own.get(metric)) for metric in ("position_auroc", "pixel_auroc", "pointing_game")),
        ]
        rows.append(TableRow(cohort["name"], cells, first, strong=key == ALL))
    columns = (
        "Cohort",
        "Localized",
        "Conditioned AUROC",
        "Best null map",
        "Difference",
        "Better?",
        "Position AUROC",
        "Pooled AUROC",
        "Pointing game",
    )
    return Table("Where: the maps in every cohort", columns, rows, text_columns=(5,))


def metric_table(cohort: Mapping[str, Any], caption: str, *, explained: bool = False) -> Table | None:
    """Every localization metric of a cohort beside every null map; None where nothing is scored.

    Args:
        cohort: a cohort of the report.
        caption: of the table.
        explained: whether each metric's name is followed by what it is.
    """
    own = cohort.get("localization") or {}
    if not any(has_value(figure) for figure in own.values()):
        return None
    nulls = {name: figures for name, figures in (cohort.get("nulls") or {}).items() if figures}
    names = [*(name for name in LOCALIZATION if name in own), *(name for name in own if name not in METRICS)]
    rows = [
        TableRow(
            metric_name(name),
            [figure_cell(own[name]), *(figure_cell(figures.get(name)) for figures in nulls.values())],
            strong=name == "conditioned_auroc",
            note=METRICS[name][1] if explained and name in METRICS else "",
        )
        for name in names
    ]
    return Table(caption, ("Metric", "This method", *map(null_name, nulls)), rows)


def best_null(cohort: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any] | None]:
    """The null map that the verdict is about, and its figure; turned upside down it scores one minus its figure."""
    name = (cohort.get("verdict") or {}).get("null")
    if not name:
        return None, None
    base, inverted = null_key(name)
    figure = ((cohort.get("nulls") or {}).get(base) or {}).get("conditioned_auroc")
    if not has_value(figure) or not inverted:
        return name, figure
    ends = {"low": figure.get("high"), "high": figure.get("low"), "value": figure["value"]}
    return name, {**figure, **{key: None if value is None else 1 - value for key, value in ends.items()}}


def box_area_table(report: Mapping[str, Any]) -> Table | None:
    """Figures by size of the box; None where the report has none."""
    groups = (report.get("effects") or {}).get("box_area") or []
    rows = [
        TableRow(
            group["group"],
            [
                Cell(count(group.get("images"))),
                figure_cell(group.get("conditioned_auroc")),
                figure_cell(group.get("pointing_game")),
            ],
        )
        for group in groups
    ]
    return Table("By size of the box", ("Size", "Images", "Conditioned AUROC", "Pointing game"), rows) if rows else None


def drift_table(drift: Mapping[str, Any]) -> Table:
    """Scores and intensities of this run beside those of the calibration."""
    rows = [
        TableRow(
            row["quantity"],
            [
                Cell(_number(row.get("reference_median"))),
                Cell(_number(row.get("run_median"))),
                Cell(_number(row.get("ks"))),
                Cell(probability(row.get("p"))),
                Cell(probability(row.get("p_holm"))),
                Cell(_number(row.get("psi"))),
                Cell("moved" if row.get("shifted") else "no"),
            ],
            strong=bool(row.get("shifted")),
        )
        for row in drift.get("rows") or []
    ]
    columns = ("Quantity", "Median, calibration", "Median, this run", "KS distance", "p", "p, Holm", "PSI", "Moved?")
    return Table("Drift since the calibration", columns, rows, text_columns=(7,))


def _by_axis(cohorts: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], bool]]:
    """(key, cohort, whether it begins other axes than the one above)."""
    keys = list(cohorts)
    return [
        (key, cohorts[key], number > 0 and axes_of(key) != axes_of(keys[number - 1])) for number, key in enumerate(keys)
    ]


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4g}"
