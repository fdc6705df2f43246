"""Entry point of `vitad-med`: builds the parser, runs the chosen command, turns errors into sentences and statuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from vitad_med import __version__
from vitad_med.cli import (
    calibrate,
    compare,
    data,
    demo,
    experiment,
    export,
    features,
    fetch,
    fits,
    key,
    listen,
    lookup,
    report,
    score,
    send,
    stats,
    version,
)
from vitad_med.cli.exit_codes import EPILOG, INTERRUPTED, OK, USER_ERROR
from vitad_med.cli.parser import StrictParser
from vitad_med.errors import VitadError

COMMANDS = (
    *(demo, data, calibrate, score, export, fetch, send, listen, key, lookup),
    *(report, compare, stats, fits, features, experiment, version),
)
"""In the order in which the help lists them."""

EXAMPLES = """\
examples:
  vitad-med demo                          train on examples/nih_mini, evaluate, print the table
  vitad-med data check DIR                look for mistakes in a data set before training on it
  vitad-med report RUN --out DIR          cohort localization report of any scores and maps
  vitad-med compare RUN_A RUN_B --out DIR is one run better than another on the same images
  vitad-med calibrate DIR --bundle BUNDLE set the threshold on a site's own normal images
  vitad-med score DIR --bundle BUNDLE --out DIR
                                          score a folder of radiographs: worklist, report, DICOM
  vitad-med export --bundle BUNDLE --backend onnx
                                          its network for ONNX Runtime or OpenVINO, certified
  vitad-med stats DIR --bundle BUNDLE --out FILE
                                          what test-time adaptation knows of the training images
  vitad-med fits merge PARTS --out FILE   one model of normality of several machines' parts
  vitad-med features DIR --bundle BUNDLE --out DIR
                                          picture of features before the head, by type of image
  vitad-med experiment run FILE --out DIR several methods, seeds and data sets in one table
  vitad-med fetch URL --out DIR --date 20260131
                                          radiographs from an archive, by DICOMweb
  vitad-med send FOLDER --to URL          DICOM files to an archive, by STOW or C-STORE
  vitad-med listen --bundle BUNDLE --out DIR
                                          score what an archive or modality sends
  vitad-med key new                       the site's secret key for hashed names, once
  vitad-med lookup HASH                   who a hashed name is, inside the site
  vitad-med version                       library versions, devices, threads, bf16 support

Training and evaluation of a bundle go through MONAI:
  python -m monai.bundle run --config_file bundles/attn_synth/configs/train.json
"""


def build_parser() -> StrictParser:
    """The whole command line."""
    parser = StrictParser(
        prog="vitad-med",
        description="Anomaly detection and localization in medical images, learned from normal images only.",
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("--version", action="version", version=f"vitad-med {__version__}")
    commands = parser.add_commands()
    for module in COMMANDS:
        module.add_command(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after the program's name; None reads them from the process.

    Returns:
        0 done, 1 a check found something wrong, 2 the user's mistake, 130 interrupted. Wrong options leave through
        SystemExit(2), as argparse does. Any other exception is a defect of this program and keeps its traceback.
    """
    options = build_parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"\ninterrupted{getattr(options, 'after_interrupt', '')}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except VitadError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
