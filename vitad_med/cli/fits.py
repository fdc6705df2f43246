"""`vitad-med fits`: fitted models of normality; parts of several machines merged, and what a file holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.cli.facts import out_file, print_facts
from vitad_med.errors import ConfigError

if TYPE_CHECKING:  # takes seconds to import; --help does not wait for it
    from vitad_med.normality.state import Stored

DESCRIPTION = """\
Fitted models of normality (contnet_gaussian): a Gaussian, or neighbours, of
features of normal images.

  vitad-med fits merge FILES  one model of the parts that train.json leaves beside
                              its models, each fitted with --shard K/N
  vitad-med fits show FILE    says what a model or a part was made of

Parts are refused where settings, features or weights differ, where one is
unfinished, and where an image or a patient occurs twice. The epsilon of a
Gaussian is used when a fit ends: with --epsilon that of the parts is set aside."""

EXAMPLES = """\
examples:
  vitad-med fits merge a/model.part.safetensors b/model.part.safetensors --out model.safetensors
  vitad-med fits show bundles/contnet_gaussian/models/model.safetensors
"""


def add_command(commands: Any) -> None:
    """Add `fits` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "fits",
        help="merge or show fitted models of normality",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("what", choices=("merge", "show"), help="what to do")
    parser.add_argument("files", nargs="+", metavar="FILE", help="parts to merge, or the file to show")
    parser.add_argument("--out", metavar="FILE", help="merge: the model to write")
    parser.add_argument(
        "--epsilon", type=float, metavar="E", help="merge: of the Gaussian, where parts differ in it or all had another"
    )
    parser.set_defaults(run=run, after_interrupt=": nothing was written; the same command starts anew")


def run(options: argparse.Namespace) -> int:
    """Merge or show."""
    (_merge if options.what == "merge" else _show)(options)
    return OK


def _merge(options: argparse.Namespace) -> None:
    if len(options.files) < 2:
        raise ConfigError("merge needs at least two parts, e.g. `vitad-med fits merge A B --out C`.")
    out = out_file(options.out, "model.safetensors")
    from vitad_med.normality import write_model_of_parts

    write_model_of_parts(options.files, out, options.epsilon)
    _print(out)


def _show(options: argparse.Namespace) -> None:
    for name in ("out", "epsilon"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name} does not apply to `vitad-med fits show`; leave it out.")
    if len(options.files) != 1:
        raise ConfigError(f"show takes one file, {len(options.files)} were given.")
    _print(Path(options.files[0]).expanduser())


def _print(path: Path) -> None:
    from vitad_med.normality.state import read_stored

    stored = read_stored(path)
    title = "Model of normality" if stored.content == "model" else "Part of a model of normality"
    print_facts(title, _rows(stored), path, stored.digest)


def _rows(stored: Stored) -> list[tuple[str, str]]:
    from vitad_med.data.roster import UNKEYED
    from vitad_med.data.shards import describe_shard
    from vitad_med.normality.kinds import create_fit

    made = stored.provenance
    rows = [("kind", stored.kind), ("settings", _listed(stored.settings))]
    if stored.content == "part":
        state = "complete" if stored.complete else "unfinished: repeat the command that makes it, it goes on"
        fit = create_fit(stored.kind, stored.settings)
        fit.restore(stored.tensors)
        done, size = stored.batches
        rows.append(("images seen", f"{fit.count} in {done} batches of up to {size}, {state}"))
    rows += [
        ("features", f"{made.channels} channels on {made.grid[0]} x {made.grid[1]} cells"),
        ("images", f"{made.image_size} px, " + ("grey" if made.image_channels == 1 else "colour")),
        ("extractor", _listed(made.extractor)),
        ("weights of the extractor", made.extractor_digest[:12]),
        ("patients", "not known: no identifier_key_file" if UNKEYED in made.naming else f"{len(made.patients)}"),
        ("data", ", ".join(digest[:12] for digest in made.data_digests)),
        ("parts", ", ".join(map(describe_shard, made.shards)) or "not known"),
    ]
    if "jitter" in stored.tensors:
        raised = int((stored.tensors["jitter"] > 0).sum())
        rows.append(("jitter", f"{raised} of {stored.tensors['jitter'].numel()} positions needed some"))
    return rows


def _listed(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
