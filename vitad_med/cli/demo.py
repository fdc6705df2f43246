"""`vitad-med demo`: train and evaluate the bundle `attn_synth` on the embedded chest X-rays, and report on it."""

from __future__ import annotations

import argparse
import shlex
import time
import warnings
from pathlib import Path
from typing import Any

import vitad_med
from vitad_med.cli import report
from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.cli.parser import StrictParser
from vitad_med.errors import ConfigError, VitadError

BUNDLE = Path("bundles") / "attn_synth"
REPORT_RATE = 0.2
"""False-positive rate of the report: the few normal test patients of the demo reach no lower one."""

DESCRIPTION = """\
Train the bundle attn_synth on the normal chest X-rays of examples/nih_mini,
evaluate it on the test images, print the figures per sex beside those of the
null maps, which know nothing about disease, and write the cohort report. Takes
minutes on two CPU cores.
With 16 normal and 32 boxed test images the figures show how to read the table,
not how good the method is."""

EXAMPLES = """\
examples:
  vitad-med demo
  vitad-med demo --epochs 1 --output_dir /tmp/demo

Ctrl-C keeps the last checkpoint; the same command goes on from there.
"""


def add_command(commands: Any) -> None:
    """Add `demo` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "demo",
        help="train and evaluate on the embedded chest X-rays",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument(
        "--output_dir", default="outputs/demo", metavar="DIR", help="folder of the results (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="training epochs (default: the bundle's)")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of every random draw (default: the bundle's)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 (default: a GPU where there is one)")
    parser.add_argument(
        "--resume", choices=("True", "False"), default="True", help="False starts anew instead of from the checkpoint"
    )
    parser.set_defaults(run=run, after_interrupt=": repeat the command to go on from the last checkpoint")


def run(options: argparse.Namespace) -> int:
    """Train, evaluate, print the table, write the report, say where the results lie."""
    start = time.monotonic()
    root = repository_root(Path(vitad_med.__file__).parent)
    output_dir = Path(options.output_dir).expanduser().resolve()
    shared: dict[str, Any] = {"bundle_root": str(root / BUNDLE), "output_dir": str(output_dir)}
    shared |= {key: getattr(options, key) for key in ("seed", "device") if getattr(options, key) is not None}
    training: dict[str, Any] = {"resume": options.resume == "True"}
    if options.epochs is not None:
        training["epochs"] = options.epochs

    _run_bundle("Step 1 of 3, training", root, "train.json", {**shared, **training})
    trained = {"weights": str(output_dir / "model.pt")}
    _run_bundle("Step 2 of 3, evaluation", root, "evaluate.json", {**shared, **trained})

    _run_report("Step 3 of 3, report", root, output_dir)

    minutes = (time.monotonic() - start) / 60
    print(f"\nDone in {minutes:.1f} minutes. The results lie in {output_dir}:")
    for path in sorted(output_dir.iterdir()):
        print(f"  {path.name}{'/' if path.is_dir() else ''}")
    return OK


def repository_root(package: Path) -> Path:
    """The clone that holds the bundles and examples beside the package's folder.

    Raises:
        ConfigError: the package was installed without them.
    """
    root = package.resolve().parent
    for needed in (BUNDLE / "configs" / "train.json", Path("examples") / "nih_mini" / "Data_Entry_2017_v2020.csv"):
        if not (root / needed).is_file():
            raise ConfigError(
                f"The demo needs a clone of the repository, and {root / needed} does not exist; "
                "clone it and run `make demo` there."
            )
    return root


def _run_bundle(title: str, root: Path, config: str, overrides: dict[str, Any]) -> None:
    from monai.bundle import run as run_bundle  # MONAI takes seconds to import; --help does not wait for it

    from vitad_med.bundles.errors import plain_errors, sentence

    path = root / BUNDLE / "configs" / config
    words = ["python", "-m", "monai.bundle", "run", "--config_file", str(path)]
    for key, value in overrides.items():
        words += [f"--{key}", str(value)]
    print(f"\n{title}; the same as\n  {shlex.join(words)}\n", flush=True)
    try:
        with plain_errors(), warnings.catch_warnings():
            # MONAI warns that a config can run code; this one is part of the repository.
            warnings.filterwarnings("ignore", message="parsing config_file")
            run_bundle(config_file=str(path), **overrides)
    except VitadError as error:
        raise type(error)(sentence(error)) from None


def _run_report(title: str, root: Path, output_dir: Path) -> None:
    words = ["report", str(output_dir), "--cohorts", "sex,view", "--out", str(output_dir / "report")]
    words += ["--fpr", f"{REPORT_RATE:g}", "--bundle", str(root / BUNDLE)]
    print(f"\n{title}; the same as\n  {shlex.join(['vitad-med', *words])}\n", flush=True)
    parser = StrictParser(prog="vitad-med")
    report.add_command(parser.add_commands())
    report.run(parser.parse_args(words))
