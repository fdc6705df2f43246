"""`vitad-med features`: a picture of features before the head, by type of image, and figures beside it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vitad_med.cli.bundle_run import bundle_config, given_keys, run_quietly
from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.cli.values import whole_number
from vitad_med.errors import StorageError

SOURCES = ("nih_chestxray14", "mvtec", "image_folder", "dicom")
SECTIONS = ("test", "val", "train", "all")
DEFAULT_LIMIT = 300

DESCRIPTION = """\
Draw the features of normal images, of one synthetic anomaly of each, and of
abnormal images: what the network's head sees, in two dimensions by t-SNE.
Writes features.png, features.csv (coordinates) and features.json, and prints
how well each two of the groups can be told apart: AUROC of a linear probe and
of nearest neighbours, cross-validated by patient.

Distances in a t-SNE picture mean little; the figures are what counts. The same
input and seed give the same files."""

EXAMPLES = """\
examples:
  vitad-med features /data/ChestX-ray14 --bundle bundles/apmask --out pictures
  vitad-med features /data/ChestX-ray14 --bundle bundles/apmask --encoder encoder.safetensors --out pictures
  vitad-med features /data/mvtec --data mvtec --bundle bundles/apmask --weights model.pt --by finding --out pictures
"""


def add_command(commands: Any) -> None:
    """Add `features` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "features",
        help="picture of features before the head, by type of image",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("folder", metavar="DATASET_DIR", help="data set")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results; made when missing")
    parser.add_argument("--bundle", required=True, metavar="DIR", help="bundle of the model, e.g. bundles/apmask")
    parser.add_argument("--data", choices=SOURCES, help="layout of DATASET_DIR (default: the bundle's)")
    parser.add_argument("--section", choices=SECTIONS, help="part of the data set (default: test)")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--weights", metavar="FILE", help="model.pt of a training (default: the bundle's)")
    model.add_argument(
        "--encoder",
        metavar="WEIGHTS",
        help="an encoder before fine-tuning: a .safetensors file, 'embedded', 'none' or a timm name",
    )
    parser.add_argument(
        "--by",
        choices=("group", "finding"),
        default="group",
        help="colours of abnormal images: one, or one for each finding (default: %(default)s)",
    )
    parser.add_argument(
        "--limit",
        type=whole_number(1),
        default=DEFAULT_LIMIT,
        metavar="N",
        help="images of each group, evenly spaced (default: %(default)s)",
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="default: %(default)s")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 (default: a GPU where there is one)")
    parser.add_argument("--identifiers", choices=("clear", "hashed"), help="names in the table (default: by the data)")
    parser.add_argument("--identifier_key_file", metavar="FILE", help="the site's secret, for hashed names")
    parser.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="another key of the bundle's evaluate.json, as in its training, e.g. image_size=448; repeatable",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the bundle's objects through the picture, and print the figures."""
    out = Path(options.out).expanduser().resolve()
    if out.exists() and not out.is_dir():
        raise StorageError(f"--out '{options.out}' is a file: give a folder.")
    config = bundle_config(options.bundle, "evaluate.json")
    overrides: dict[str, Any] = {
        "dataset_dir": str(Path(options.folder).expanduser().resolve()),
        "output_dir": str(out),
        "seed": options.seed,
        "tracking_uri": "none",
        "run": [_component(options)],
    }
    words = ("data", "section", "weights", "device", "identifiers", "identifier_key_file")
    overrides |= {name: getattr(options, name) for name in words if getattr(options, name) is not None}
    if options.encoder is not None:
        # The encoder's weights are read where the network is made; there is no trained head.
        overrides |= {"network_def#weights": options.encoder, "detail_width": 0}
        overrides["network"] = "$@network_def.to(@compute_device)"
    overrides |= given_keys(options.set or [], overrides)
    run_quietly(config, options.data, overrides, ("vitad_med.evaluation.features", "features of "))
    _print(out)
    return OK


def _component(options: argparse.Namespace) -> dict[str, Any]:
    """What takes the place of the evaluation in the bundle's config."""
    objects = ("network", "cases", "scorer", "synthesis")
    settings = ("output_dir", "image_size", "channels", "seed", "batch_size", "identifiers", "identifier_key_file")
    origin = ("data", "section")
    bundle = Path(options.bundle).expanduser().resolve().name
    encoder = options.encoder
    return {
        "_target_": "vitad_med.evaluation.features.write_features",
        **{name: f"@{name}" for name in (*objects, *settings, *origin)},
        "limit": options.limit,
        "by": options.by,
        "model": bundle if encoder is None else f"encoder {Path(encoder).name}",
        "model_digest": "@model_digest" if encoder is None else None,
    }


def _print(out: Path) -> None:
    from vitad_med.evaluation.features import COORDINATES, FIGURES, PICTURE, WARNING, figure_lines

    content = json.loads((out / FIGURES).read_text(encoding="utf-8"))
    print(f"{content['model']}: {', '.join(f'{count} {name}' for name, count in content['images'].items())}")
    for line in figure_lines(content):
        print(f"  {line}")
    print(WARNING)
    for name in (PICTURE, COORDINATES, FIGURES):
        print(f"  {out / name}")
