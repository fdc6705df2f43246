"""`vitad-med calibrate`: the threshold of a bundle from a site's own normal images."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from vitad_med.cli.bundle_run import bundle_config, given_keys, run_quietly
from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.cli.score import tell
from vitad_med.errors import ConfigError, StorageError

if TYPE_CHECKING:  # the modules behind these take seconds to import; --help does not wait for them
    from vitad_med.calibration import Calibration
    from vitad_med.calibration.run import Remark
    from vitad_med.predictions.records import Predictions

MIN_WIDTH = 80
# Sections whose images no training of this data set used; the first is the default.
SECTIONS = {
    "image_folder": ("all", "val"),
    "dicom": ("all", "val"),
    "nih_chestxray14": ("val", "test"),
    "mvtec": ("val", "test"),
}
# Options that say how to score images; a finished run was scored already.
SCORING = ("bundle", "data", "section", "device", "backend", "exported", "weights", "window", "set")

DESCRIPTION = """\
Find the score above which an image is flagged, from normal images alone, so that
a stated share of the normal images of new patients is flagged. FOLDER holds the
site's own normal images (a folder a patient), which the bundle scores; or it is
the output of an evaluation, whose normal images are used.

DICOM files (--data dicom) are scored as `vitad-med score` scores them, and those
outside of what the bundle is meant for are left out, since it does not judge them.

One image a patient is drawn. Part of the patients is held out and checks the
rate. The file holds sorted scores and intensity statistics, no names; it is bound
to the model, its settings, the device and the precision, and `vitad-med report`
refuses it for any other. docs/calibration.md says what it promises."""

EXAMPLES = """\
examples:
  vitad-med calibrate /data/our_normals --data dicom --bundle bundles/attn_synth --out site.json
  vitad-med calibrate /data/our_normals --bundle bundles/attn_synth
  vitad-med calibrate /data/our_normals --bundle bundles/attn_synth --fpr 0.05 --out site.json
  vitad-med calibrate outputs/nih --fpr 0.05
  vitad-med calibrate /data/ChestX-ray14 --data nih_chestxray14 --bundle bundles/attn_synth
"""


def add_command(commands: Any) -> None:
    """Add `calibrate` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "calibrate",
        help="set the threshold on a site's own normal images",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("folder", metavar="FOLDER", help="normal images, or the output folder of an evaluation")
    parser.add_argument("--bundle", metavar="DIR", help="bundle that scores the images, e.g. bundles/attn_synth")
    parser.add_argument("--out", default="calibration.json", metavar="FILE", help="result (default: %(default)s)")
    parser.add_argument("--data", choices=tuple(SECTIONS), help="layout of FOLDER (default: image_folder)")
    parser.add_argument(
        "--section",
        choices=("all", "val", "test", "train"),
        help="part of the data set (default: all of an image_folder, else val, the patients held out from training)",
    )
    parser.add_argument(
        "--fpr", type=float, default=0.1, metavar="RATE", help="false-positive rate to promise (default: %(default)s)"
    )
    parser.add_argument(
        "--check_fraction",
        type=float,
        default=0.3,
        metavar="PART",
        help="part of the patients held out to check the rate (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (default: %(default)s)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 (default: the bundle's)")
    parser.add_argument("--backend", choices=("torch", "onnx", "openvino"), help="as in the runs to be judged")
    parser.add_argument("--exported", metavar="FILE", help="what `vitad-med export` wrote (default: in the bundle)")
    parser.add_argument("--window", metavar="NAME", help="of DICOM files, as in the runs to be judged (default: first)")
    parser.add_argument("--weights", metavar="FILE", help="model.pt of a training (default: the bundle's)")
    parser.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="another key of the bundle's evaluate.json, as in the runs to be judged, e.g. image_size=448; repeatable",
    )
    parser.add_argument("--list", action="store_true", help="name the images that copies and warnings are about")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Score or read the normal images, calibrate, write, print the summary."""
    if not 0 < options.fpr < 1:
        raise ConfigError(f"--fpr is {options.fpr}, but must be a share of normal images between 0 and 1, e.g. 0.1.")
    if not 0 <= options.check_fraction < 1:
        raise ConfigError(f"--check_fraction is {options.check_fraction}, but must be at least 0 and below 1.")
    from vitad_med.calibration import write_calibration
    from vitad_med.calibration.run import calibrate_predictions

    folder = Path(options.folder).expanduser()
    asked = {"false_positive_rate": options.fpr, "check_fraction": options.check_fraction, "seed": options.seed}
    # Maps and pictures of the images lie here while they are needed, and for this user alone.
    with tempfile.TemporaryDirectory(prefix="vitad_med_") as scratch:
        if _data(options) == "dicom" and not _finished(folder):
            calibration, remarks = _calibrate_dicom(options, folder, Path(scratch), asked)
        else:
            calibration, remarks = calibrate_predictions(_predictions(options, folder, Path(scratch)), **asked)
    write_calibration(options.out, calibration)
    _print(calibration, [*remarks, _overlap(options)], options)
    return OK


def _calibrate_dicom(
    options: argparse.Namespace, folder: Path, scratch: Path, asked: dict[str, Any]
) -> tuple[Calibration, list[Remark]]:
    """By the run that `vitad-med score` makes."""
    from vitad_med.scoring.calibrating import calibrate_folder
    from vitad_med.scoring.settings import ScoreSettings

    given = {key: getattr(options, key) for key in ("device", "weights") if getattr(options, key) is not None}
    settings = ScoreSettings(
        source=folder,
        bundle=Path(_bundle(options, folder)),
        out=scratch / "scored",
        outputs=("worklist",),
        backend=options.backend or "torch",
        exported=None if options.exported is None else Path(options.exported).expanduser(),
        overrides={**given, **given_keys(options.set or [], given)},
        window=options.window or "first",
    )
    return calibrate_folder(settings, held_out=_section(options) == "val", tell=tell, **asked)


def _bundle(options: argparse.Namespace, folder: Path) -> str:
    if options.bundle is None:
        raise ConfigError(f"{folder} is no finished run: give --bundle, the bundle that scores its images.")
    return str(options.bundle)


def _finished(folder: Path) -> list[Path]:
    """Where the predictions of a finished run lie, if FOLDER is one."""
    from vitad_med.predictions.layout import FOLDER, TABLE

    return [place for place in (folder / FOLDER, folder) if (place / TABLE).is_file()]


def _predictions(options: argparse.Namespace, folder: Path, scratch: Path) -> Predictions:
    """The finished run that FOLDER is, or that the bundle makes of the images in it."""
    from vitad_med.predictions.journal import read_journal
    from vitad_med.predictions.layout import FOLDER, JOURNAL
    from vitad_med.predictions.reader import read_predictions

    places = _finished(folder)
    given = [name for name in SCORING if getattr(options, name) is not None]
    if places and given:
        raise ConfigError(f"--{given[0]} says how to score images, but {folder} is a finished run: leave it out.")
    if not places:
        _score(options, folder, scratch)
        places = [scratch / FOLDER]
    journal = places[0] / JOURNAL
    if not journal.is_file():
        raise ConfigError(f"{places[0]} has no {JOURNAL}, so a calibration cannot be bound to a model; write one.")
    hashed = read_journal(journal).identifiers == "hashed"
    # Names stay in memory: the calibration holds none.
    return read_predictions(places[0], identifiers=None if hashed else "clear")


def _score(options: argparse.Namespace, folder: Path, output_dir: Path) -> None:
    """Run the bundle's evaluation on the normal images of FOLDER; what it prints is not about calibration."""
    config = bundle_config(_bundle(options, folder), "evaluate.json")
    data, section = _data(options), _section(options)
    if options.window is not None:
        raise ConfigError(f"--window {options.window} is for DICOM files: give --data dicom, or leave it out.")
    overrides: dict[str, Any] = {
        "data": data,
        "dataset_dir": str(folder.resolve()),
        "section": section,
        "output_dir": str(output_dir),
        "cases": {
            "_target_": "vitad_med.calibration.run.normal_cases",
            "cases": "$setup.cases(@data, @dataset_dir, @section, @val_fraction, @split_seed, @options)",
        },
        "identifiers": "clear",
        "tracking_uri": "none",
        "synthetic_check": False,
        "overlays": 0,
        "replicates": 1,
        "by": [],
    }
    overrides |= _backend(options)
    overrides |= given_keys(options.set or [], overrides)
    overrides |= {key: getattr(options, key) for key in ("device", "weights") if getattr(options, key) is not None}

    try:
        run_quietly(config, data, overrides, ("vitad_med.evaluation.collect", "scored "))
    except StorageError as error:
        raise StorageError(f"{error}; the variable TMPDIR names another folder for these temporary files") from None


def _backend(options: argparse.Namespace) -> dict[str, Any]:
    """What puts an exported network in place of the bundle's own."""
    if options.backend in (None, "torch"):
        if options.exported is not None:
            raise ConfigError(f"--exported {options.exported} is for --backend onnx or openvino: name one of them.")
        return {}
    if options.device not in (None, "cpu"):
        raise ConfigError(f"--device {options.device}: --backend {options.backend} computes on the CPU; leave it out.")
    from vitad_med.scoring.backends.inferer import config_overrides

    exported = None if options.exported is None else Path(options.exported).expanduser()
    return config_overrides(options.backend, exported)


def _data(options: argparse.Namespace) -> str:
    return options.data or "image_folder"


def _section(options: argparse.Namespace) -> str:
    data = _data(options)
    section = options.section or SECTIONS[data][0]
    if section == "train":
        raise ConfigError("--section train holds images that were trained on; choose images that the model never saw.")
    if section not in SECTIONS[data]:
        raise ConfigError(f"--section {section} does not apply to {data}; choose {' or '.join(SECTIONS[data])}.")
    return section


def _overlap(options: argparse.Namespace) -> Remark:
    """What is known of whether the model was trained on the calibration patients: model.pt does not name anybody."""
    from vitad_med.calibration.run import Remark

    if options.bundle is not None and _section(options) == "val":
        return Remark(
            "The patients are those that val_fraction and split_seed hold out: right if the model was trained on this "
            "data set with the same two."
        )
    return Remark(
        "Whether the model was trained on any of these patients cannot be checked, a model file does not say: make "
        "sure that it was not, their scores would be too low."
    )


def _print(calibration: Calibration, remarks: Sequence[Remark], options: argparse.Namespace) -> None:
    from vitad_med.calibration.operating_point import rate_bound
    from vitad_med.metrics.conformal import threshold

    console = Console(file=sys.stdout, width=max(MIN_WIDTH, shutil.get_terminal_size().columns), highlight=False)
    bound = rate_bound(threshold(calibration.scores, calibration.false_positive_rate))
    table = Table(title="Calibration", title_justify="left", show_header=False)
    table.add_row("threshold: flagged above", f"{calibration.threshold:.6g}")
    table.add_row("calibration", f"{calibration.patients} patients, one image each, of {calibration.images} images")
    table.add_row("false-positive rate asked for", f"{calibration.false_positive_rate:g}")
    table.add_row("expected, for a new normal patient", f"{bound['expected']:.3f}")
    table.add_row("at most, with 95 % confidence", f"{bound['upper']:.3f}")
    table.add_row("on the held-out normal patients", _check_text(calibration))
    console.print(table)
    for remark in remarks:
        console.print(f"- {remark.text}", markup=False)
        for name in remark.images if options.list else ():
            console.print(f"    {name}", markup=False)
    if not options.list and any(remark.images for remark in remarks):
        console.print("--list names the images.")
    console.print(f"Written to {options.out}, digest {calibration.digest[:12]}.", markup=False)


def _check_text(calibration: Calibration) -> str:
    if calibration.check is None:
        return "nobody was held out (check_fraction 0)"
    figure = calibration.check["false_positive_rate"]
    who = f"{calibration.check['images']} images of {calibration.check['patients']} patients"
    if figure["value"] is None:
        return f"{figure['reason']} ({who})"
    interval = "" if figure["low"] is None else f" [{figure['low']:.3f}-{figure['high']:.3f}]"
    return f"{figure['value']:.3f}{interval} ({who})"
