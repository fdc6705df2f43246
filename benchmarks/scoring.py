"""Scoring a folder end to end against its slower stage alone, and memory against the number of files.

    python benchmarks/scoring.py                                  # 2,000 files of mixed size, syntax and depth
    python benchmarks/scoring.py --files 300 --syntaxes jpeg2000
    python benchmarks/scoring.py --memory 200 2000 20000

Files are made from published radiographs: four sizes, 8, 12 and 16 bits, four encodings, every one with a UID of its
own. *decode* decodes them all in the worker processes, *infer* runs the network over as many batches, *score* is
`vitad-med score` from triage to the worklist, its processes started; all with the same processes and threads, in turns
over parts of the files, and the ratio is formed part by part. Memory is the peak of the main process and of those that
it started together, pages that they share counted once, every half second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import torch
from _machine import describe_machine
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `scripts` is no part of the installed package

from scripts.make_dx import make_dx
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import read_image, resize
from vitad_med.scoring.image_task import Decoding, Source, decode
from vitad_med.scoring.run import Session
from vitad_med.scoring.settings import ScoreSettings
from vitad_med.scoring.workers import Workers
from vitad_med.site.folder import VARIABLE

ROOT = Path(__file__).resolve().parents[1]
SIZES = ((512, 512), (1024, 1024), (1280, 1536), (2048, 2048))
BITS = (8, 12, 16)
SYNTAXES: dict[str, UID | None] = {
    "uncompressed": None,
    "rle": RLELossless,
    "jpegls": JPEGLSLossless,
    "jpeg2000": JPEG2000Lossless,
}
PLACE = "9" * 9
"""Digits in the UIDs of a template that each copy replaces."""


def make_files(folder: Path, count: int, syntaxes: list[str], sizes: list[tuple[int, int]]) -> list[Path]:
    """Copies of templates, one for each size, depth and encoding, with UIDs of their own."""
    cases = read_chestxray14(ROOT / "examples" / "nih_mini", section="test")
    kinds = [(size, bits, syntax) for size in sizes for bits in BITS for syntax in syntaxes]
    templates = []
    for number, (size, bits, syntax) in enumerate(kinds):
        made = make_dx(resize(read_image(cases[number % len(cases)].image_path)[0], size), PLACE, bits=bits, age="050Y")
        if SYNTAXES[syntax] is not None:
            made.compress(SYNTAXES[syntax], generate_instance_uid=False)
        with tempfile.NamedTemporaryFile(dir=folder.parent) as file:
            made.save_as(file.name, enforce_file_format=True)
            templates.append(Path(file.name).read_bytes())
    folder.mkdir()
    order = np.random.default_rng(0).permutation(count) % len(templates)
    paths = []
    for number, kind in enumerate(order.tolist()):
        path = folder / f"{number:06d}.dcm"
        path.write_bytes(templates[kind].replace(PLACE.encode(), f"{100_000_000 + number}".encode()))
        paths.append(path)
    return paths


def decode_all(paths: list[Path], decoding: Decoding, workers: Workers, ahead: int = 64) -> float:
    """Seconds to decode all files in the workers."""
    began = time.perf_counter()
    futures = []
    for number, path in enumerate(paths):
        futures.append(workers.submit(decode, Source(path, str(number), True), decoding))
        if len(futures) >= ahead:
            futures.pop(0).result()
    for future in futures:
        future.result()
    return time.perf_counter() - began


def infer_all(session: Session, count: int) -> float:
    """Seconds for the network to see as many images."""
    bundle, size = session.bundle, session.settings.batch_size
    images = np.random.default_rng(0).random((size, bundle.channels, bundle.image_size, bundle.image_size))
    batch = images.astype(np.float32)
    began = time.perf_counter()
    for _ in range((count + size - 1) // size):
        session.backend(batch)
    return time.perf_counter() - began


def speed(options: argparse.Namespace, folder: Path) -> None:
    sizes = [size for size in SIZES if size[0] <= options.largest]
    files = make_files(folder / "files", options.files, options.syntaxes, sizes)
    settings = settings_of(options, folder / "files", folder / "out")
    session = Session(settings, tell=lambda _: None)
    decoding = Decoding(session.bundle.image_size, session.bundle.channels, with_picture="sc" in settings.kinds)
    parts = np.array_split(np.arange(len(files)), options.rounds)
    ratios, rates = [], []
    with session, Workers(options.workers) as workers:
        decode_all(files[:8], decoding, workers)  # the processes have started
        infer_all(session, settings.batch_size)
        session.score(warm_up(files, folder), folder / "out_warm")
        for number, part in enumerate(parts):
            inside = folder / f"part_{number}"
            inside.mkdir()
            for index in part.tolist():
                files[index].rename(inside / files[index].name)
            chosen = sorted(inside.iterdir())
            decoded = decode_all(chosen, decoding, workers)
            inferred = infer_all(session, len(chosen))
            began = time.perf_counter()
            scored = session.score(inside, folder / f"out_{number}")
            whole = time.perf_counter() - began
            assert all(row.score is not None for row in scored.rows)
            rates.append([len(chosen) / seconds for seconds in (decoded, inferred, whole)])
            ratios.append(max(decoded, inferred) / whole)
            told = "  ".join(f"{name} {rate:6.1f}/s" for name, rate in zip(STAGES, rates[-1], strict=True))
            print(f"part {number}: {told}  score/slower stage {ratios[-1]:.3f}", flush=True)
            shutil.rmtree(inside)
    medians = [statistics.median(column) for column in zip(*rates, strict=True)]
    told = "  ".join(f"{name} {rate:.1f}/s" for name, rate in zip(STAGES, medians, strict=True))
    print(f"median: {told}  score/slower stage {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})")


def warm_up(files: list[Path], folder: Path) -> Path:
    """A folder of two copies, so that the processes of the session have started."""
    inside = folder / "warm"
    inside.mkdir()
    for path in files[:2]:
        shutil.copy(path, inside)
    return inside


STAGES = ("decode", "infer", "score")


def settings_of(options: argparse.Namespace, source: Path, out: Path) -> ScoreSettings:
    return ScoreSettings(
        source=source,
        bundle=ROOT / "bundles" / options.bundle,
        out=out,
        outputs=tuple(options.outputs.split(",")),
        workers=options.workers,
        thumbnails=0,
    )


def memory(options: argparse.Namespace, folder: Path) -> None:
    for count in options.memory:
        inside = folder / f"files_{count}"
        make_files(inside, count, ["uncompressed"], [(256, 256)])
        command = [sys.executable, "-m", "vitad_med.cli", "score", str(inside), "--out", str(folder / f"out_{count}")]
        command += ["--bundle", str(ROOT / "bundles" / options.bundle), "--workers", str(options.workers)]
        command += ["--outputs", options.outputs]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken: list[tuple[float, float]] = []  # of the main process, of the others
        while process.poll() is None:
            own, *others = (held(each) / 2**20 for each in family(process.pid))
            taken.append((own, sum(others)))
            time.sleep(0.5)
        assert process.returncode == 0
        seconds = time.perf_counter() - began
        tenths = [max(map(sum, taken[part])) for part in _tenths(len(taken))]
        peak, own, others = max(map(sum, taken)), max(a for a, _ in taken), max(b for _, b in taken)
        rate = count / seconds
        print(f"{count:6d} files: peak {peak:.0f} MiB (main {own:.0f}, others {others:.0f}), {rate:.1f} files/s")
        print(f"        peak of each tenth of the run: {' '.join(f'{value:.0f}' for value in tenths)} MiB", flush=True)
        shutil.rmtree(inside)


def _tenths(count: int) -> list[slice]:
    edges = [count * part // 10 for part in range(11)]
    return [slice(start, max(stop, start + 1)) for start, stop in pairwise(edges)]


def family(process: int) -> Iterator[int]:
    """A process and those that it started."""
    yield process  # first
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


def held(process: int) -> float:
    """Proportional set size in bytes: pages that processes share count once."""
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="attn_synth")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--outputs", default="worklist")
    parser.add_argument("--largest", type=int, default=2048)
    parser.add_argument("--syntaxes", nargs="+", default=list(SYNTAXES), choices=list(SYNTAXES))
    parser.add_argument("--memory", nargs="+", type=int, default=None, metavar="FILES")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    print(describe_machine())
    print(f"pydicom {pydicom.__version__}; {options.workers} worker processes, outputs {options.outputs}")
    with tempfile.TemporaryDirectory(prefix="vitad_med_bench_") as scratch:
        os.environ[VARIABLE] = str(Path(scratch) / "site")
        if options.memory:
            memory(options, Path(scratch))
        else:
            speed(options, Path(scratch))


if __name__ == "__main__":
    main()
