"""What DICOM objects of one radiograph cost: milliseconds and bytes of each kind, in each encoding of its pixels.

    python benchmarks/findings.py ../shared/data/dicom/RG1_J2KI.dcm

The map is made: two bumps on 224 x 224, the image flagged. Times are the least of the rounds, in CPU time;
decoding is no part of them.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import threadpoolctl
from _machine import describe_machine

from vitad_med.data.dicom.pixels import read_radiograph
from vitad_med.data.intensity import from_unit_range, to_unit_range
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.making import ENCODINGS
from vitad_med.findings.objects import KINDS, make_objects

PROVENANCE = Provenance(
    method="attn_synth",
    version="0.1.0",
    score_rule="made",
    model_digest="a" * 64,
    config_digest="b" * 64,
    calibration_digest="c" * 64,
    software_digest="d" * 64,
    created=datetime(2026, 1, 1, tzinfo=UTC),
)


def finding() -> Finding:
    """A flagged image whose map has two bumps."""
    rows, columns = np.mgrid[:224, :224] / 224
    bumps = [np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 0.01) for y, x in ((0.3, 0.3), (0.6, 0.7))]
    return Finding(0.87, np.maximum(*bumps).astype(np.float32), p_value=0.01, threshold=0.5, flagged=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a DICOM radiograph")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    threadpoolctl.threadpool_limits(1)
    print(describe_machine())
    picture = from_unit_range(to_unit_range(read_radiograph(options.file).values), np.uint8)
    print(f"{picture.shape[0]} x {picture.shape[1]} pixels\n\n{'kind':16}{'encoding':14}{'ms':>8}{'MB':>10}")
    for kind in KINDS:
        for encoding in ENCODINGS:
            spent = []
            for _ in range(options.rounds):
                start = time.process_time()
                made = make_objects(options.file, finding(), PROVENANCE, [kind], picture=picture, encoding=encoding)
                spent.append(time.process_time() - start)
            print(f"{kind:16}{encoding:14}{1e3 * min(spent):8.0f}{len(made[kind]) / 1e6:10.3f}")


if __name__ == "__main__":
    main()
