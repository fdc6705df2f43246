"""`vitad-med report`: from a run, or from anybody's scores and maps, to a cohort localization report."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.cli.values import share, whole_number

if TYPE_CHECKING:
    from vitad_med.calibration import Calibration

DEFAULT_RATE = 0.1

DESCRIPTION = """\
Write report.html, report.json, cohorts.csv, images.csv, model_card.md and
reporting_checklist.md about RUN: the output folder of a bundle's evaluation, a
folder with predictions.csv, or a CSV file of scores with folders of maps and
images (docs/predictions_format.md).

Every figure stands beside those of maps that know nothing about disease, on the
same images, with intervals over patients. The same input gives the same bytes."""

EXAMPLES = """\
examples:
  vitad-med report outputs/nih --cohorts sex,view,age --out outputs/nih/report
  vitad-med report scores.csv --maps maps --images images --cohorts sex,scanner --out report
  vitad-med report outputs/site --calibration site.json --prevalence 0.02 --out report
"""


def add_command(commands: Any) -> None:
    """Add `report` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "report",
        help="write the cohort localization report of a run",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("predictions", metavar="RUN", help="evaluation folder, predictions folder, or CSV file")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the report; made when missing")
    parser.add_argument(
        "--cohorts",
        default="sex,view,age",
        metavar="AXES",
        help="axes to report by; sex:view crosses two; any column of the table is an axis (default: %(default)s)",
    )
    source = parser.add_argument_group("input")
    source.add_argument("--maps", metavar="DIR", help="folder of the maps, for a CSV file (default: maps beside it)")
    source.add_argument("--images", metavar="DIR", help="folder of the images (default: images beside the table)")
    source.add_argument("--eval_size", type=whole_number(1), metavar="N", help="side of the grid (default: the run's)")
    source.add_argument(
        "--drop-invalid",
        action="store_true",
        help="leave out images whose score or map is NaN or infinite, and say so in the flow diagram",
    )
    source.add_argument("--name", metavar="TEXT", help="name of the method, where the run does not say it")
    source.add_argument("--identifiers", choices=("clear", "hashed"), help="names in the report (default: the run's)")
    source.add_argument("--identifier_key_file", metavar="FILE", help="secret of hashed names")
    figures = parser.add_argument_group("figures")
    figures.add_argument("--calibration", metavar="FILE", help="calibration.json of `vitad-med calibrate`")
    figures.add_argument(
        "--fpr",
        type=share,
        metavar="RATE",
        help="false-positive rate of the operating point (default: the calibration's, else 0.1)",
    )
    figures.add_argument("--prevalence", type=share, default=0.05, metavar="SHARE", help="default: %(default)s")
    figures.add_argument("--replicates", type=whole_number(100), default=2000, metavar="N", help="default: %(default)s")
    figures.add_argument(
        "--permutations", type=whole_number(100), default=2000, metavar="N", help="default: %(default)s"
    )
    figures.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="default: %(default)s")
    figures.add_argument(
        "--min_patients", type=whole_number(1), default=5, metavar="N", help="smallest scored cell (default: 5)"
    )
    figures.add_argument("--pixel_score", choices=("map", "map_times_image_score"), default="map")
    output = parser.add_argument_group("output")
    output.add_argument(
        "--thumbnails",
        type=_thumbnails,
        default=200,
        metavar="N",
        help="pictures inside the page, of the highest scores; 'all' puts those of every image in a folder beside it "
        "(default: %(default)s)",
    )
    output.add_argument("--bundle", metavar="DIR", help="bundle of the method, whose metadata the model card repeats")
    output.add_argument(
        "--tracking_uri",
        default="none",
        metavar="URI",
        help="MLflow: sqlite (in --out), a sqlite or http(s) URI (default: none)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, compute, write, and say where the files lie and what the verdict is."""
    # These take seconds to import; --help does not wait for them.
    from vitad_med.bundles.metadata import read_metadata
    from vitad_med.calibration import read_calibration
    from vitad_med.evaluation.cohorts import parse_axes
    from vitad_med.predictions.identifiers import read_identifier_key
    from vitad_med.predictions.reader import read_predictions
    from vitad_med.reporting.analysis.build import build_report
    from vitad_med.reporting.analysis.settings import ReportSettings
    from vitad_med.reporting.document.document import check_report
    from vitad_med.reporting.terminal import print_summary
    from vitad_med.reporting.write import check_place, write_report_files

    check_place(Path(options.out))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    calibration = None if options.calibration is None else read_calibration(options.calibration)
    settings = ReportSettings(
        by=tuple(parse_axes(options.cohorts)),
        replicates=options.replicates,
        permutations=options.permutations,
        seed=options.seed,
        min_patients=options.min_patients,
        pixel_score=options.pixel_score,
        prevalence=options.prevalence,
        false_positive_rate=_rate(options.fpr, calibration),
    )
    metadata = None if options.bundle is None else read_metadata(options.bundle)
    predictions = read_predictions(
        options.predictions,
        maps=options.maps,
        images=options.images,
        eval_size=options.eval_size,
        drop_invalid=options.drop_invalid,
        identifiers=options.identifiers,
        identifier_key=read_identifier_key(options.identifier_key_file),
    )
    if options.name is not None:
        predictions = replace(predictions, journal=replace(predictions.journal, method=options.name))
    report = build_report(predictions, settings, calibration)
    files = write_report_files(options.out, predictions, report, thumbnails=options.thumbnails, metadata=metadata)
    if options.tracking_uri.lower() != "none":
        from vitad_med.bundles.track_report import track_report  # brings MLflow and MONAI

        track_report(check_report(report.document), options.out, tracking_uri=options.tracking_uri)
    print_summary(report.document)
    for path in files:
        print(f"  {path}")
    return OK


def _rate(asked: float | None, calibration: Calibration | None) -> float:
    if asked is not None:
        return asked
    return DEFAULT_RATE if calibration is None else calibration.false_positive_rate


def _thumbnails(text: str) -> int | None:
    return None if text == "all" else whole_number(0)(text)
