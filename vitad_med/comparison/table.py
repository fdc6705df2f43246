"""A comparison on the terminal: both primary figures of both methods, their difference, and a sentence a cohort."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vitad_med.comparison.document import Comparison, Side
from vitad_med.reporting.document.wording import NOTHING, count_text, difference_text, figure_text, p_text

_TITLES = {
    "conditioned_auroc": "Where is it?  Conditioned AUROC of the maps, and B minus A",
    "image_auroc": "Is the image abnormal?  AUROC of the image score, and B minus A",
}
_STYLES = {"yes": "bold green", "no": "bold red", "cannot tell": "yellow"}


def render(comparison: Comparison) -> RenderableType:
    """The tables and sentences as one rich renderable; 100 columns hold every interval beside its figure."""
    parts: list[RenderableType] = [_heading("A", comparison["a"]), _heading("B", comparison["b"]), Text()]
    for metric, title in _TITLES.items():
        parts += [_table(comparison, metric, title), Text()]
    sentences = Text("\n").join(
        Text(cohort["verdict"]["sentence"], style=_STYLES[cohort["verdict"]["answer"]])
        for cohort in comparison["cohorts"].values()
    )
    level = f"{100 * comparison['settings']['level']:g} %"
    notes = [
        *comparison["notes"],
        f"Brackets: {level} intervals of a bootstrap of patients, the same replicates for A and B.",
        "p: of both figures in all cohorts, adjusted together by Holm's method. DeLong: unadjusted cross-check.",
        "The other figures stand in compare.csv.",
    ]
    return Group(*parts, Padding(sentences, (0, 0, 1, 0)), Text("\n".join(notes), style="dim"))


def _heading(letter: str, side: Side) -> Text:
    return Text.assemble((f"{letter}  {side['method'] or 'method not recorded'}", "bold"), f"   {side['digest'][:12]}")


def _table(comparison: Comparison, metric: str, title: str) -> Table:
    table = Table(title=Text(title, style="bold"), title_justify="left", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    table.add_column("cohort", no_wrap=True)
    table.add_column("images", justify="right")
    for name in ("A", "B", "B - A", "p"):
        table.add_column(name)
    if metric == "image_auroc":
        table.add_column("DeLong p")
    for cohort in comparison["cohorts"].values():
        compared = cohort["metrics"][metric]
        cells = [
            cohort["name"],
            count_text(compared["difference"]["n"]),
            figure_text(compared["a"]),
            figure_text(compared["b"]),
            difference_text(compared["difference"]),
            p_text(compared["p_holm"]),
        ]
        if metric == "image_auroc":
            cells.append(NOTHING if cohort["delong"] is None else p_text(cohort["delong"]["p"]))
        table.add_row(*(Text(cell) for cell in cells))
    return table
