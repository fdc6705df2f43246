"""The evaluation on the terminal: every figure beside what a map or model that knows nothing scores."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vitad_med.data.case import UNKNOWN
from vitad_med.evaluation.cohorts import cohort_name, parse_key
from vitad_med.evaluation.document import Cohort, Document, Value, rounded
from vitad_med.evaluation.null_maps import BOX_PRIOR_REASON, MAPS
from vitad_med.evaluation.verdict import MAP_NAMES, best_null, format_figure, format_interval, localization_verdict

_LOCALIZATION_COLUMNS = {
    "pixel_auroc": "pooled pixels",
    "position_auroc": "same position",
    "conditioned_auroc": "conditioned*",
    "pointing_game": "pointing game",
}
_OUTLINE_COLUMNS = {**{k: v for k, v in _LOCALIZATION_COLUMNS.items() if k != "pointing_game"}, "aupro": "AUPRO"}
"""Where the truth is pixel-exact: AUPRO is what the field reports of outlines."""

_NAMES_IN_NOTES = {
    "image_auroc": "image AUROC",
    "metadata_null_auroc": "metadata alone",
    "image_auroc_conditioned": "same view, age band",
    "conditioned_auroc": "localization",
}
_ANSWER_STYLES = {"yes": "bold green", "no": "bold red", "cannot tell": "yellow"}
_NOTHING = "-"


def print_table(document: Document, console: Console | None = None) -> None:
    """Print the document; 100 columns hold every interval on the line of its figure."""
    (console or Console()).print(render(document))


def render(document: Document) -> RenderableType:
    """The tables, verdicts and notes as one rich renderable."""
    cohorts = {key: cohort for key, cohort in document["cohorts"].items() if not _says_nothing(key, cohort, document)}
    heading = Text.assemble(
        (document["bundle"], "bold"), f"   model {document['model_digest'][:12]}   data {document['data_digest'][:12]}"
    )
    return Group(
        heading,
        Text(),
        _image_table(cohorts),
        Text(),
        _localization_table(cohorts),
        Text(),
        _verdicts(cohorts),
        Text(),
        _notes(cohorts),
    )


def _says_nothing(key: str, cohort: Cohort, document: Document) -> bool:
    """Where sex or view is known of no image, the cohort "unknown" would repeat the lines of all images."""
    unknown = set(parse_key(key).values()) == {UNKNOWN}
    return unknown and cohort["n_images"] == document["cohorts"]["all"]["n_images"]


def _image_table(cohorts: dict[str, Cohort]) -> Table:
    table = _table("Is the image abnormal?  AUROC of the image score [95 % interval]")
    table.add_column("cohort", no_wrap=True)
    for name in ("images", "abnormal", "patients"):
        table.add_column(name, justify="right")
    for name in ("this method", "metadata alone", "same view, age band"):
        table.add_column(name)
    for key, cohort in cohorts.items():
        metrics = cohort["metrics"]
        null = metrics["metadata_null_auroc"]["value"]
        # A cross-validated model errs below chance where metadata say nothing; to exceed that is no feat.
        reference = None if null is None else max(null, 0.5)
        table.add_row(
            cohort_name(key),
            f"{cohort['n_images']:,}",
            f"{cohort['n_abnormal']:,}",
            f"{cohort['n_patients']:,}",
            _cell(metrics["image_auroc"], reference),
            _cell(metrics["metadata_null_auroc"]),
            _cell(metrics["image_auroc_conditioned"], 0.5),
        )
    return table


def _localization_table(cohorts: dict[str, Cohort]) -> Table:
    table = _table("Where is it?  AUROC over the pixels of localized images [95 % interval], beside the null maps")
    table.add_column("cohort, map", no_wrap=True)
    columns = _localization_columns(cohorts)
    for name in columns.values():
        table.add_column(name)
    for key, cohort in cohorts.items():
        values = [cohort["metrics"][metric] for metric in columns]
        table.add_row(Text(f"{cohort_name(key)}: {_count(cohort['n_localized'], 'image')}", style="bold"))
        best = [best_null(cohort, metric) for metric in columns]
        table.add_row(
            "  this method",
            *(_cell(value, None if null is None else null[1]) for value, null in zip(values, best, strict=True)),
        )
        for name in MAPS if any(best) else ():
            figures = [cohort["nulls"][name][metric] for metric in columns]
            cells = [
                Text(_NOTHING if figure is None else format_figure(figure), style=_null_style(figure, null))
                for figure, null in zip(figures, best, strict=True)
            ]
            table.add_row(Text(f"  {MAP_NAMES[name]}", style="dim"), *cells)
        table.add_section()
    return table


def _localization_columns(cohorts: dict[str, Cohort]) -> dict[str, str]:
    outlined = all("aupro" in cohort["metrics"] for cohort in cohorts.values())
    return _OUTLINE_COLUMNS if outlined else _LOCALIZATION_COLUMNS


def _verdicts(cohorts: dict[str, Cohort]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for key, cohort in cohorts.items():
        verdict = localization_verdict(cohort["metrics"]["conditioned_auroc"], cohort["differences"])
        style = _ANSWER_STYLES[verdict.answer]
        table.add_row(Text(cohort_name(key), style="bold"), Text(verdict.sentence, style=style))
    title = Text(
        "Does it localize better than position and brightness alone?  (conditioned AUROC against the best null map)",
        style="bold",
    )
    return Group(title, Padding(table, (0, 0, 0, 2)))


def _notes(cohorts: dict[str, Cohort]) -> RenderableType:
    notes = [
        "* conditioned on position and on the image (each map replaced by its ranks within the image): the primary "
        "figure. A map that ignores the image and a map constant within an image both score .500.",
        "pooled pixels: rewards knowing where abnormalities usually are; read it against centre blob and box prior.",
        "AUPRO: overlap with each outlined region up to a false-positive rate of .3; noise scores .150."
        if "aupro" in _localization_columns(cohorts)
        else "pointing game: how often the highest pixel lies inside the truth.",
        f"box prior: {BOX_PRIOR_REASON}; only its pooled figure is given.",
        "metadata alone: a model of age, sex and view that sees no pixel. An image AUROC that does not exceed it says "
        "nothing about the images; one that does may still tell when and how they were taken, not disease. Below .500 "
        "it found nothing: balanced sets lead a cross-validated model astray.",
        "A null map below .500 counts by its inverse (darkness for brightness); the best of each column is bold.",
        "Without brackets: too few patients (20 in each class are needed) for an interval.",
    ]
    unscored: dict[str, list[str]] = {}
    for key, cohort in cohorts.items():
        for metric, name in _NAMES_IN_NOTES.items():
            reason = cohort["metrics"][metric]["reason"]
            if reason is not None:
                unscored.setdefault(f"{name}: {reason}", []).append(cohort_name(key))
    reasons = [
        f"{_NOTHING} {reason} ({'every cohort' if len(names) == len(cohorts) else '; '.join(names)})."
        for reason, names in unscored.items()
    ]
    return Text("\n".join([*notes, *reasons]), style="dim")


def _table(title: str) -> Table:
    return Table(title=Text(title, style="bold"), title_justify="left", pad_edge=False, box=None, padding=(0, 2, 0, 0))


def _cell(value: Value, reference: float | None = None) -> Text:
    """A figure and its interval, green when the interval lies above the reference and red when it lies below."""
    if value["value"] is None:
        return Text(_NOTHING)
    text = format_figure(value["value"])
    if value["low"] is None or value["high"] is None:
        return Text(text)
    style = ""
    if reference is not None and value["low"] > reference:
        style = "green"
    if reference is not None and value["high"] < reference:
        style = "red"
    return Text(f"{text} {format_interval(value['low'], value['high'])}", style=style)


def _null_style(figure: float | None, best: tuple[str, float] | None) -> str:
    return "bold" if figure is not None and best is not None and best[1] in (figure, rounded(1 - figure)) else "dim"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
