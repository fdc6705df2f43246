"""The document ``report.json``: the check of it, its reading and its writing.

The page, the tables, the model card, the checklist and the tracking of a report are made from this document alone.
Removing a key raises the number in ``REPORT_SCHEMA``. See ``docs/report_json.md`` for the meaning of every key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from vitad_med.errors import DataError
from vitad_med.evaluation.document import IMAGE_METRICS
from vitad_med.reporting.document.typed_json import check, read_json, require, write_document
from vitad_med.reporting.document.types import Report

REPORT_SCHEMA = "vitad_med/report/1"
ALL = "all"
REPORT_LOCALIZATION = (
    "pixel_auroc",
    "pixel_ap",
    "position_auroc",
    "conditioned_auroc",
    "mean_image_auroc",
    "pointing_game",
    "aupro",
    "aupro_100",
    "iou_fpr1",
    "iou_fpr5",
    "iou_fpr10",
    "iobb_fpr1",
    "iobb_fpr5",
    "iobb_fpr10",
    "froc_mean",
    "froc_1",
)


def check_report(document: Any) -> Report:
    """Check the structure of a report, own or read from a file; keys beyond the schema's are let through.

    Raises:
        DataError: naming the first key that is missing, of the wrong kind, or at odds with another.
    """
    if isinstance(document, dict) and document.get("schema", REPORT_SCHEMA) != REPORT_SCHEMA:
        raise DataError(f"report.json has schema '{document['schema']}'; this version reads '{REPORT_SCHEMA}'.")
    check(document, Report)
    report = cast(Report, document)
    require(ALL in report["cohorts"], "cohorts", f"an object with '{ALL}'")
    for key, cohort in report["cohorts"].items():
        where = f"cohorts.{key}"
        require(key == ALL or all("=" in part for part in key.split(",")), where, "named by axis=value parts")
        wanted = {"image": IMAGE_METRICS, "localization": REPORT_LOCALIZATION}
        for section, figures in (("image", cohort["image"]), ("localization", cohort["localization"])):
            missing = [name for name in wanted[section] if name not in figures]
            if missing:
                raise DataError(f"{where}.{section} lacks the key '{missing[0]}'.")
    _check_references(report)
    _check_lengths(report)
    return report


def read_report(path: str | Path) -> Report:
    """Read and check ``report.json``.

    Raises:
        DataError: the file is missing, no JSON, or not of this schema, with the file and the key.
    """
    content = read_json(path, "write it with `vitad-med report`")
    try:
        return check_report(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def write_report(path: str | Path, document: Any) -> None:
    """Write the report; the same report gives the same bytes, whatever the order in which its keys were set.

    Numbers are rounded to six decimals, those in the unit of the scores to nine significant digits; the threshold is
    kept as it is. Cohorts and maps
    keep the order they have.

    Raises:
        DataError: the report breaks its schema.
        StorageError: the file could not be written.
    """
    write_document(path, check_report(document), Report)


def _check_references(report: Report) -> None:
    """Every cohort that another section names is one of the report's."""
    operating_point = report["operating_point"]
    named = [(f"curves.{kind}", key) for kind in ("roc", "froc") for key in report["curves"][kind]]
    named += [(f"gaps[{i}]", level["cohort"]) for i, gap in enumerate(report["gaps"]) for level in gap["levels"]]
    if operating_point is not None:
        named += [("operating_point.cohorts", key) for key in operating_point["cohorts"]]
        if operating_point["threshold"] is None:
            require(bool(operating_point["reason"]), "operating_point.reason", "text, because there is no threshold")
    for where, key in named:
        require(key in report["cohorts"], where, f"about cohorts of the report, which '{key}' is not")


def _check_lengths(report: Report) -> None:
    for kind in ("roc", "froc", "froc_nulls"):
        for key, curve in report["curves"][kind].items():
            sizes = {len(points) for points in curve.values() if isinstance(points, list)}
            require(len(sizes) == 1, f"curves.{kind}.{key}", "a curve with as many y, low and high as x")
    histogram = report["distributions"]
    if histogram is None:
        return
    bins = max(len(histogram["edges"]) - 1, 0)
    for label, counts in (("normal", histogram["normal"]), ("abnormal", histogram["abnormal"])):
        require(len(counts) == bins, f"distributions.{label}", f"{bins} counts, one fewer than the edges")
