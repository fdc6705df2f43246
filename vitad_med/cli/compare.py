"""`vitad-med compare`: is one run better than another on the same images?"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.errors import ConfigError, StorageError

# A narrower table would break its headings; a file or a pipe has no width of its own.
MIN_WIDTH = 100

# Names leave neither run: where a run without a key is not public, this one stands in for it inside the process.
_INTERNAL_KEY = b"names stay inside vitad-med compare"

DESCRIPTION = """\
Compare two runs on the same images, cohort by cohort: B minus A with intervals
from a bootstrap of patients that both share. A run is the output folder of an
evaluation, or a folder with predictions.csv and maps/ in the same format.

Images are matched by name and must have the same truth in both runs. Writes
compare.json and compare.csv, prints the table and one sentence a cohort."""

EXAMPLES = """\
examples:
  vitad-med compare outputs/first outputs/second --out outputs/compared
  vitad-med compare outputs/first theirs --cohorts sex,view,sex:view --out compared
  vitad-med compare outputs/first theirs --common --out compared
"""


def add_command(commands: Any) -> None:
    """Add `compare` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "compare",
        help="compare two runs on the same images",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("run_a", metavar="RUN_A", help="the run to compare with")
    parser.add_argument("run_b", metavar="RUN_B", help="the run that may be better")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--cohorts", default="sex,view", metavar="AXES", help="joined by comma, crossed by colon (default: %(default)s)"
    )
    parser.add_argument("--common", action="store_true", help="leave out images that one of the runs lacks")
    parser.add_argument("--drop-invalid", action="store_true", help="leave out images whose score or map is not finite")
    parser.add_argument("--eval_size", type=int, metavar="N", help="grid of the maps in pixels (default: the runs')")
    parser.add_argument(
        "--replicates", type=int, default=2000, metavar="N", help="of the bootstrap (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: %(default)s)")
    parser.add_argument(
        "--identifier_key_file", metavar="FILE", help="secret of hashed names, where only one run has them"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read both runs, compare, write, print."""
    # The statistics take seconds to import; --help does not wait for them.
    from vitad_med.comparison.compare import compare_runs
    from vitad_med.comparison.document import write_comparison
    from vitad_med.comparison.table import render
    from vitad_med.evaluation.cohorts import parse_axes
    from vitad_med.predictions.identifiers import read_identifier_key
    from vitad_med.predictions.reader import read_predictions

    if options.seed < 0:
        raise ConfigError(f"--seed is {options.seed}, but must be at least 0.")
    by = parse_axes(options.cohorts)
    key = read_identifier_key(options.identifier_key_file) or _INTERNAL_KEY
    a, b = (
        read_predictions(path, eval_size=options.eval_size, drop_invalid=options.drop_invalid, identifier_key=key)
        for path in (options.run_a, options.run_b)
    )
    comparison = compare_runs(a, b, by=by, common=options.common, replicates=options.replicates, seed=options.seed)
    folder = Path(options.out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make --out '{folder}': {error.strerror}; choose another.") from error
    write_comparison(folder, comparison)
    Console(file=sys.stdout, width=max(MIN_WIDTH, shutil.get_terminal_size().columns)).print(render(comparison))
    return OK
