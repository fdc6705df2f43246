"""`vitad-med score`: what a hospital runs on a folder of radiographs."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from vitad_med.cli.bundle_run import given_keys
from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.cli.values import share, whole_number

if TYPE_CHECKING:
    from vitad_med.scoring.run import Scored

MIN_WIDTH = 80
SHOWN = 10
BACKENDS, ENGINES = ("torch", "onnx", "openvino"), ("local", "ray")

DESCRIPTION = """\
Score every frontal chest radiograph of a folder and say of every other file why it
is set aside. FOLDER is searched with all its folders; it may also be a DICOMDIR, or
a text file that names a file a line. PNG, JPEG and NIfTI files are scored too.

Results go to --out: worklist.csv, report.html, and DICOM objects below dicom/. Names
outside the DICOM objects are keyed hashes; `vitad-med lookup` leads back, inside the
site. A run that was stopped goes on with --resume and ends with the same bytes."""

EXAMPLES = """\
examples:
  vitad-med score /data/today --bundle bundles/attn_synth --out outputs/today
  vitad-med score /data/today --bundle bundles/attn_synth --out outputs/today --resume
  vitad-med score /data/today --bundle bundles/attn_synth --calibration site.json --out outputs/today
  vitad-med score /data/today --bundle bundles/attn_synth --outputs worklist,parquet,maps --out outputs/today
"""


def add_command(commands: Any) -> None:
    """Add `score` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "score",
        help="score a folder of radiographs",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("folder", metavar="FOLDER", help="folder, DICOMDIR, or text file with a path a line")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results; made when missing")
    parser.add_argument("--resume", action="store_true", help="go on with the run that is in --out")
    add_scoring_options(parser)
    parser.set_defaults(run=run, after_interrupt=": the same command with --resume goes on")


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Options that say how images are scored and what is written of each."""
    parser.add_argument("--bundle", required=True, metavar="DIR", help="bundle that scores, e.g. bundles/attn_synth")
    parser.add_argument(
        "--outputs",
        default="worklist,report,sc,seg,sr",
        metavar="NAMES",
        help="what is written: worklist, parquet, report, maps (PNG of the file's size), sc (picture with heat map), "
        "seg, seg_fractional, sr, gsps (default: %(default)s)",
    )
    parser.add_argument("--calibration", metavar="FILE", help="calibration.json of `vitad-med calibrate`")
    parser.add_argument("--deidentify", action="store_true", help="rename the patients in DICOM objects")
    parser.add_argument(
        "--encoding",
        choices=("uncompressed", "jpegls"),
        default="uncompressed",
        help="pixels of sc and seg_fractional; jpegls is lossless and a third of the size or less, where the archive "
        "takes it (default: %(default)s)",
    )
    model = parser.add_argument_group("how")
    model.add_argument("--window", default="first", metavar="NAME", help="first, none, percentile, or a window's name")
    model.add_argument(
        "--region_share",
        type=share,
        default=0.05,
        metavar="SHARE",
        help="share of the picture that a flagged image's regions take at most (default: %(default)s)",
    )
    model.add_argument(
        "--thumbnails", type=whole_number(0), default=200, metavar="N", help="pictures in the report (default: 200)"
    )
    model.add_argument("--weights", metavar="FILE", help="weights of a training (default: the bundle's)")
    model.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 (default: a GPU where there is one)")
    model.add_argument("--set", action="append", metavar="KEY=VALUE", help="another key of evaluate.json; repeatable")
    speed = parser.add_argument_group("speed")
    speed.add_argument("--backend", choices=BACKENDS, default=BACKENDS[0], help="default: %(default)s")
    speed.add_argument("--exported", metavar="FILE", help="file of `vitad-med export` (default: the bundle's)")
    speed.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="default: %(default)s")
    speed.add_argument("--batch_size", type=whole_number(1), default=16, metavar="N", help="default: %(default)s")
    speed.add_argument(
        "--workers", type=whole_number(0), metavar="N", help="processes that decode and write (default: CPUs less one)"
    )


def settings_of(options: argparse.Namespace, folder: Path, out: Path, resume: bool) -> Any:
    """The settings that the options ask for.

    Raises:
        ConfigError: an output that does not exist, or a --set that this command sets itself.
    """
    from vitad_med.scoring.settings import ScoreSettings  # brings torch; --help does not wait for it

    given = {name: getattr(options, name) for name in ("weights", "device") if getattr(options, name) is not None}
    return ScoreSettings(
        source=folder,
        bundle=Path(options.bundle),
        out=out,
        outputs=tuple(dict.fromkeys(name.strip() for name in options.outputs.split(",") if name.strip())),
        calibration=None if options.calibration is None else Path(options.calibration).expanduser(),
        backend=options.backend,
        exported=None if options.exported is None else Path(options.exported).expanduser(),
        overrides={**given, **given_keys(options.set or [], given)},
        batch_size=options.batch_size,
        workers=options.workers,
        window=options.window,
        region_share=options.region_share,
        thumbnails=options.thumbnails,
        deidentify=options.deidentify,
        encoding=options.encoding,
        resume=resume,
        engine=options.engine,
    )


def run(options: argparse.Namespace) -> int:
    """Score, and print what became of the files."""
    from vitad_med.scoring.run import score_folder

    settings = settings_of(options, Path(options.folder), Path(options.out), options.resume)
    scored = score_folder(settings, tell=tell)
    _print(scored, settings.kinds)
    return OK


def tell(sentence: str) -> None:
    """A sentence about the run, on stderr."""
    print(sentence, file=sys.stderr, flush=True)


def _print(scored: Scored, kinds: Sequence[str]) -> None:
    console = Console(width=None if sys.stdout.isatty() else MIN_WIDTH + 20, highlight=False)
    images = [row for row in scored.rows if row.score is not None]
    table = Table(title=f"{len(images)} of {len(scored.rows)} files scored", title_justify="left", box=None)
    judged = scored.threshold is not None
    for name in ("image", "score", *(("p", "flagged") if judged else ()), "sex", "age", "view", "intended use"):
        table.add_column(name, justify="right" if name in ("score", "p", "age") else "left")
    for row in images[:SHOWN]:
        flag = "" if row.flagged is None else "yes" if row.flagged else "no"
        p_value = "" if row.p_value is None else f"{row.p_value:.3f}"
        table.add_row(
            row.image[:12],
            f"{row.score:.6g}",
            *((p_value, flag) if judged else ()),
            row.sex,
            "" if row.age is None else str(row.age),
            row.view,
            "within" if not row.outside else ", ".join(row.outside),
        )
    if images:
        console.print(table)
    if len(images) > SHOWN:
        console.print(f"and {len(images) - SHOWN} more in worklist.csv")
    aside = Counter(row.set_aside for row in scored.rows if row.score is None)
    if aside:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(aside.items()))
        console.print(f"set aside: {told}")
    if not judged:
        console.print("no threshold: scores rank images, and say of none that it is abnormal")
        regions = [kind for kind in ("seg", "gsps") if kind in kinds]
        if regions:
            console.print(
                f"so no {' or '.join(regions)} objects, which hold regions of flagged images: vitad-med calibrate"
            )
    for path in sorted(scored.out.iterdir()):
        if not path.name.startswith(".") and path.name != "state":
            console.print(f"  {path}", soft_wrap=True)
