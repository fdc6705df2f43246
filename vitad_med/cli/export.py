"""`vitad-med export`: a bundle's network for ONNX Runtime or OpenVINO, and the proof that it gives what torch gives."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitad_med.cli.bundle_run import given_keys
from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.cli.facts import print_facts

if TYPE_CHECKING:  # takes seconds to import; --help does not wait for it
    from vitad_med.scoring.backends.certificate import Certificate

DESCRIPTION = """\
Write what a bundle's network computes, map and score, for another runtime:
ONNX Runtime or OpenVINO, both of which read one ONNX file with the weights
inside. `vitad-med score --backend` runs it.

Made and real golden images are given to torch and to the exported network.
Beside the file lie their certificate, which says how far the two are apart, and
the images with torch's answers. When they are too far apart nothing is written.
A file without a certificate, or with one of other weights or settings, is never
used, and the golden images are checked again each time that it is opened."""

EXAMPLES = """\
examples:
  vitad-med export --bundle bundles/attn_synth --backend onnx
  vitad-med export --bundle bundles/attn_synth --backend openvino --out /srv/models/attn.onnx
  vitad-med export --bundle bundles/apmask --backend onnx --set 'sizes=[224]'
"""


def add_command(commands: Any) -> None:
    """Add `export` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "export",
        help="a bundle's network for ONNX Runtime or OpenVINO, certified",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("--bundle", required=True, metavar="DIR", help="e.g. bundles/attn_synth")
    parser.add_argument("--backend", required=True, choices=("onnx", "openvino"), help="what will run it")
    parser.add_argument("--out", metavar="FILE", help="the ONNX file to write (default: in the bundle's models)")
    parser.add_argument("--weights", metavar="FILE", help="model.pt of a training (default: the bundle's)")
    parser.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="another key of the bundle's evaluate.json, as in the runs to come, e.g. image_size=448; repeatable",
    )
    parser.set_defaults(run=run, after_interrupt=": the same command starts anew")


def run(options: argparse.Namespace) -> int:
    """Export, and print what the certificate says."""
    from vitad_med.scoring.backends.certificate import certificate_path
    from vitad_med.scoring.backends.exporting import export
    from vitad_med.scoring.bundle import load_bundle

    own: dict[str, Any] = {"device": "cpu"}
    if options.weights is not None:
        own["weights"] = str(Path(options.weights).expanduser().resolve())
    overrides = {**own, **given_keys(options.set or [], own)}
    out = None if options.out is None else Path(options.out).expanduser()
    path, certificate = export(load_bundle(options.bundle, overrides), options.backend, out)
    print_facts("Export", _rows(certificate), path, certificate.exported_digest)
    print(f"{certificate_path(path)} is its certificate.")
    return OK


def _rows(certificate: Certificate) -> list[tuple[str, str]]:
    words = {"score": "scores", "map_mean": "maps, mean of an image", "map_pixel": "maps, single pixel"}
    deviations = [
        (f"from torch: {text}", f"at most {certificate.deviation[key]:.1e}, allowed {certificate.tolerance[key]:.0e}")
        for key, text in words.items()
    ]
    count = len(certificate.golden)
    real = certificate.golden.count("radiograph")
    return [
        ("bundle", f"{certificate.bundle} {certificate.bundle_version}"),
        ("backend", f"{certificate.backend}, {certificate.precision}"),
        ("model", certificate.model_digest[:12]),
        ("golden images", f"{count - real} made, {real} radiographs"),
        *deviations,
    ]
