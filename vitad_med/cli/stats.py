"""`vitad-med stats`: what test-time adaptation knows of the training images; made, merged and shown."""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitad_med.cli.bundle_run import bundle_config, given_keys, run_quietly
from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.cli.facts import out_file, print_facts
from vitad_med.cli.values import whole_number
from vitad_med.errors import ConfigError

if TYPE_CHECKING:  # takes seconds to import; --help does not wait for it
    from vitad_med.adaptation.statistics import SourceStatistics

SOURCES = ("nih_chestxray14", "mvtec", "image_folder", "dicom")
MAKING = ("bundle", "data", "weights", "shard", "device", "seed", "identifier_key_file", "set")

DESCRIPTION = """\
Source statistics: mean and second moment of attention entropy, by class and
patch, over the training images and one synthetic anomaly of each. Alignment at
test time compares test images with them (adapt.json, key statistics).

  vitad-med stats DATASET_DIR  runs the bundle's summarize.json over the training
                               images, without the patients held out
  vitad-med stats merge FILES  one file of the parts that --shard made
  vitad-med stats show FILE    says what a file holds

The file is bound to the model and its settings. It names the patients, so that
a guard or a calibration can be proved to have others: under hashes where the
data set is published, else under the site's key, and not at all without it. Files without
names are merged only when they are different shards of one list of images."""

EXAMPLES = """\
examples:
  vitad-med stats /data/ChestX-ray14 --bundle bundles/attn_synth --out statistics.safetensors
  vitad-med stats /data/ChestX-ray14 --bundle bundles/attn_synth --shard 1/2 --out a.safetensors
  vitad-med stats merge a.safetensors b.safetensors --out statistics.safetensors
  vitad-med stats show bundles/attn_synth/models/statistics.safetensors
A folder that is called merge or show is written ./merge or ./show.
"""


def add_command(commands: Any) -> None:
    """Add `stats` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "stats",
        help="statistics of the training images for test-time adaptation",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("what", metavar="DATASET_DIR", help="data set with the training images; or merge, or show")
    parser.add_argument("files", nargs="*", metavar="FILE", help="statistics to merge or to show")
    parser.add_argument("--out", metavar="FILE", help="result")
    parser.add_argument("--bundle", metavar="DIR", help="bundle of the model, e.g. bundles/attn_synth")
    parser.add_argument("--data", choices=SOURCES, help="layout of DATASET_DIR (default: the bundle's)")
    parser.add_argument("--weights", metavar="FILE", help="model.pt of a training (default: the bundle's)")
    parser.add_argument("--shard", metavar="K/N", help="the K-th of N parts of the patients (default: all)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 (default: a GPU where there is one)")
    parser.add_argument("--seed", type=whole_number(0), metavar="N", help="of the synthetic anomalies (default: 0)")
    parser.add_argument(
        "--identifier_key_file", metavar="FILE", help="the site's secret, to name patients of data that are not public"
    )
    parser.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="another key of the bundle's summarize.json, as in its training, e.g. image_size=448; repeatable",
    )
    parser.set_defaults(run=run, after_interrupt=": nothing was written; the same command starts anew")


def run(options: argparse.Namespace) -> int:
    """Make, merge or show."""
    {"merge": _merge, "show": _show}.get(options.what, _make)(options)
    return OK


def _make(options: argparse.Namespace) -> None:
    if options.files:
        raise ConfigError(
            f"stats takes one DATASET_DIR, and {options.files[0]} too was given; 'merge' or 'show' comes before files."
        )
    if options.bundle is None:
        raise ConfigError("the model is not known: give --bundle, the folder of its bundle, e.g. bundles/attn_synth.")
    out = out_file(options.out, "statistics.safetensors").resolve()
    config = bundle_config(options.bundle, "summarize.json")
    overrides: dict[str, Any] = {
        "dataset_dir": str(Path(options.what).expanduser().resolve()),
        "statistics_file": str(out),
        "tracking_uri": "none",
    }
    words = ("data", "weights", "shard", "device", "seed", "identifier_key_file")
    overrides |= {name: getattr(options, name) for name in words if getattr(options, name) is not None}
    with tempfile.TemporaryDirectory(prefix="vitad_med_") as scratch:
        overrides |= {"output_dir": scratch}
        overrides |= given_keys(options.set or [], overrides)
        run_quietly(config, options.data, overrides, ("vitad_med.engines.summarize", "summarized "))
    _print(out)


def _merge(options: argparse.Namespace) -> None:
    _refuse(options, MAKING)
    if len(options.files) < 2:
        raise ConfigError("merge needs at least two files of statistics, e.g. `vitad-med stats merge A B --out C`.")
    out = out_file(options.out, "statistics.safetensors").resolve()
    from vitad_med.adaptation.statistics import read_statistics, write_statistics
    from vitad_med.adaptation.statistics_merge import merge_statistics

    write_statistics(out, merge_statistics([read_statistics(path) for path in options.files]))
    _print(out)


def _show(options: argparse.Namespace) -> None:
    _refuse(options, (*MAKING, "out"))
    if len(options.files) != 1:
        raise ConfigError(f"show takes one file of statistics, {len(options.files)} were given.")
    _print(options.files[0])


def _refuse(options: argparse.Namespace, names: Sequence[str]) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name} does not apply to `vitad-med stats {options.what}`; leave it out.")


def _print(path: str | Path) -> None:
    from vitad_med.adaptation.statistics import read_statistics

    found = read_statistics(path)
    print_facts("Source statistics", _rows(found), path, found.digest)


def _rows(found: SourceStatistics) -> list[tuple[str, str]]:
    from vitad_med.data.shards import describe_shard

    tokens = found.mean.shape[1]
    scale = math.log(tokens)
    rows = [
        ("images", f"{found.count[0]} normal, {found.count[1]} synthetic"),
        ("patients", f"{len(found.patients)}" if found.patients_known else "not known: no identifier_key_file"),
        ("patches", f"{found.grid[0]} x {found.grid[1]}, image_size {found.image_size}"),
        ("views", found.views if found.multicrop is None else f"{found.views}, {found.multicrop}"),
        ("rows of the attention", "renormalised" if found.renormalise_rows else "as they are (literal)"),
    ]
    for label, name in enumerate(("normal", "synthetic")):
        mean = found.mean[label] / scale
        text = f"{mean.mean():.4f} (patches {mean.min():.4f} to {mean.max():.4f})"
        if found.count[label] > 1:
            deviation = (found.squares[label] / (found.count[label] - 1)).sqrt().mean() / scale
            text += f", deviation between images {deviation:.4f}"
        rows.append((f"entropy / log {tokens}, {name}", text))
    return [
        *rows,
        ("model", found.model_digest[:12]),
        ("settings", ", ".join(f"{key} {value}" for key, value in found.pipeline.items())),
        ("digest of the settings", found.pipeline_digest[:12]),
        ("synthetic anomalies", f"{found.synthesis}, seed {found.seed}, saliency of {found.scorer_digest[:12]}"),
        ("data", ", ".join(digest[:12] for digest in found.data_digests)),
        ("parts", ", ".join(map(describe_shard, found.shards)) or "not known"),
    ]
