"""`vitad-med data check`: look for mistakes in a data set before training on it."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from typing import Any

from rich.console import Console

from vitad_med.cli.exit_codes import EPILOG, FINDINGS, OK
from vitad_med.data.checks import KINDS, check_dataset, detect_kind
from vitad_med.data.folders import dataset_folder
from vitad_med.data.report import DataReport
from vitad_med.errors import ConfigError

# A narrower table would break its headings; a file or a pipe has no width of its own.
MIN_WIDTH = 80

EXAMPLES = """\
examples:
  vitad-med data check examples/nih_mini
  vitad-med data check /data/ChestX-ray14 --no-decode
  vitad-med data check /data/mvtec_ad --category screw --list
"""

CHECK_DESCRIPTION = """\
Read the tables, lists, images and masks of a data set and report what is wrong:
patients on both sides of the split, missing and unreadable files, duplicate
rows, impossible ages, boxes outside the image, masks that are missing or fit no
image. Prints the counts by split, sex and view, and a SHA-256 of the split.
Nothing is written.

Errors, which stop or mislead training and evaluation, give exit status 1; warnings alone give 0."""


def add_command(commands: Any) -> None:
    """Add `data` and its own commands to the subparsers of `vitad-med`."""
    data = commands.add_parser(
        "data", help="check a data set", description="Commands about data sets.", epilog=f"{EXAMPLES}\n{EPILOG}"
    )
    check = data.add_commands().add_parser(
        "check",
        help="look for mistakes before training",
        description=CHECK_DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    check.add_argument("dataset_dir", metavar="DIR", help="folder of the data set")
    check.add_argument(
        "--kind", choices=KINDS, default="auto", help="layout of the folder (default: auto, by what lies in it)"
    )
    check.add_argument(
        "--decode",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="decode every image, or only look whether the file is there (default: decode)",
    )
    check.add_argument("--category", action="append", metavar="NAME", help="of MVTec AD; repeatable (default: all)")
    check.add_argument("--list", action="store_true", help="name every file and row concerned, not three examples")
    check.add_argument("--json", action="store_true", help="print the whole report as one JSON object")
    check.set_defaults(run=run_check)


def run_check(options: argparse.Namespace) -> int:
    """Print the report; 1 when it holds errors."""
    kind = options.kind
    if kind == "auto":
        kind = detect_kind(dataset_folder(options.dataset_dir))
    if options.category and kind != "mvtec":
        raise ConfigError(f"--category applies to MVTec AD, but {options.dataset_dir} is read as {kind}; leave it out.")
    report = check_dataset(options.dataset_dir, kind, decode=options.decode, category=options.category or "all")
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        report.print(Console(file=sys.stdout, width=max(MIN_WIDTH, shutil.get_terminal_size().columns)))
        if options.list:
            _print_items(report)
    return OK if report.ok else FINDINGS


def _print_items(report: DataReport) -> None:
    for problem in report.problems:
        print(f"\n{problem.code} ({problem.severity}): {problem.message}")
        for item in problem.items:
            print(f"  {item}")
