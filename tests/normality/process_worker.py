"""One of the processes of `test_fitting.py`: fits its share of the second half of the images."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tests.normality.studies import SIZE, extractor
from vitad_med.data.case import Case
from vitad_med.data.shards import shard_name, shard_of
from vitad_med.data.stream import CaseStream
from vitad_med.engines.distributed import finish_processes
from vitad_med.normality import NormalityFitting, choose_fit, process_shard


def main(images: Path, folder: Path) -> None:
    dist.init_process_group("gloo")
    paths = sorted(images.glob("*.png"))
    cases = [Case(p.stem, f"p{n // 2:03d}", p, "image_folder", "train", 0) for n, p in enumerate(paths)]
    shard = process_shard("2/2")
    own = shard_of(cases, shard)
    stream = CaseStream(own, SIZE, 4)
    model = folder / "model.safetensors"
    NormalityFitting(
        extractor(), choose_fit(), stream, model, identifier_key=b"secret", shard_name=shard_name(cases, shard)
    ).run()
    content = {"shard": shard, "seen": [case.case_id for case in own]}
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps(content))
    finish_processes()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
