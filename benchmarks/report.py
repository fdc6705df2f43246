"""A whole cohort report: time and peak memory of `vitad-med report` for 1k, 5k and 25,596 images of 224 x 224.

    python benchmarks/report.py                     # the three sizes; the largest needs 8 GB of disk
    python benchmarks/report.py --images 1000       # one size

The studies are made up, in the proportions of the official ChestX-ray14 test list (9,861 normal, 880 boxed of 25,596
images, about 9 images a patient): smooth random maps that are a little higher inside the boxes, pictures of smooth
noise with grain, 12 cohorts (all, 2 sexes, 2 views, 4 age bands, 3 scanners), 2,000 bootstrap replicates and 2,000
permutations. Making them is not timed. The command runs in a process of its own, HTML page and 200 pictures included.

The last lines compare one bootstrap replicate of the pooled pixel AUROC with scikit-learn's on the concatenated pixels
of the replicate's images.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _machine import describe_machine
from PIL import Image
from scipy.ndimage import zoom
from sklearn.metrics import roc_auc_score

from vitad_med.metrics.bootstrap import patient_weights
from vitad_med.metrics.pixel_codes import PixelCodes

SIZE = 224
OFFICIAL = 25_596
NORMAL, BOXED = 9_861 / OFFICIAL, 880 / OFFICIAL
IMAGES_OF_A_PATIENT = 9
COHORTS = "sex,view,age,scanner"
LIMIT_MINUTES, LIMIT_GB = 5, 2


def make_study(folder: Path, images: int) -> None:
    """Write a study in the layout of docs/predictions_format.md."""
    generator = np.random.default_rng(images)
    (folder / "maps").mkdir(parents=True)
    (folder / "images").mkdir()
    normal, boxed = round(images * NORMAL), round(images * BOXED)
    rows, boxes = [], []
    for number in range(images):
        name = f"{number:05d}"
        is_normal, is_boxed = number < normal, normal <= number < normal + boxed
        coarse = generator.normal(size=(14, 14)).astype(np.float32)
        values = zoom(coarse, SIZE / 14, order=1)
        if is_boxed:
            x, y = generator.uniform(0.1, 0.6, 2)
            width, height = generator.uniform(0.08, 0.35, 2)
            boxes.append([name, f"finding {number % 8}", x, y, width, height])
            values[int(y * SIZE) : int((y + height) * SIZE), int(x * SIZE) : int((x + width) * SIZE)] += 0.4
        np.save(folder / "maps" / f"{name}.npy", values)
        picture = zoom(generator.uniform(0.2, 0.8, (28, 28)), SIZE / 28, order=1)
        picture = np.clip(picture + generator.normal(scale=0.02, size=picture.shape), 0, 1)
        Image.fromarray(np.round(picture * 65535).astype(np.uint16)).save(
            folder / "images" / f"{name}.png", compress_level=1
        )
        # Patients have images of one sex, of both views and of several classes.
        patient = (number * 7919) % max(1, images // IMAGES_OF_A_PATIENT)
        rows.append(
            [
                name,
                f"p{patient:05d}",
                f"{generator.normal() + 0.5 * (not is_normal):.6f}",
                int(not is_normal),
                "MF"[patient % 2],
                ("PA", "AP")[generator.integers(2)],
                int(generator.integers(10, 90)),
                "" if is_normal else f"finding {number % 8}",
                "ABC"[patient % 3],
            ]
        )
    _write(
        folder / "predictions.csv",
        ["image", "patient", "score", "label", "sex", "view", "age", "findings", "scanner"],
        rows,
    )
    _write(folder / "boxes.csv", ["image", "finding", "x", "y", "width", "height"], boxes)


def run_report(folder: Path, cohorts: str) -> tuple[float, float]:
    """Seconds and peak resident gigabytes of the command."""
    key = folder / "site.key"
    key.write_text("benchmark-secret-of-32-characters")
    words = [sys.executable, "-m", "vitad_med.cli", "report", str(folder), "--cohorts", cohorts]
    words += ["--out", str(folder / "report"), "--identifier_key_file", str(key)]
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the report failed: {complaint}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024 / 1e9


def one_replicate(images: int, replicates: int) -> tuple[float, float, float]:
    """Seconds a replicate with us and with scikit-learn, and the distance of the two values."""
    generator = np.random.default_rng(0)
    maps = np.stack([zoom(generator.normal(size=(14, 14)).astype(np.float32), 16, order=1) for _ in range(images)])
    masks = np.zeros(maps.shape, dtype=bool)
    for mask in masks:
        y, x = generator.integers(20, 140, 2)
        mask[y : y + 60, x : x + 50] = True
    maps += np.float32(0.4) * masks
    weights = patient_weights(np.arange(images), np.ones(images, dtype=int), replicates)
    began = time.perf_counter()
    ours = np.asarray(PixelCodes.build(maps, masks).histograms().auroc(weights))
    seconds = (time.perf_counter() - began) / replicates
    drawn = np.repeat(np.arange(images), weights[0])
    began = time.perf_counter()
    theirs = roc_auc_score(masks[drawn].ravel(), maps[drawn].ravel())
    return seconds, time.perf_counter() - began, abs(float(ours[0]) - theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 5_000, OFFICIAL])
    parser.add_argument("--folder", type=Path, help="where the studies are made (default: a temporary folder)")
    options = parser.parse_args()
    print(describe_machine(), "\n")
    root = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        print(f"{'images':>8} {'boxed':>6} {'minutes':>8} {'peak GB':>8}")
        for images in options.images:
            folder = root / str(images)
            make_study(folder, images)
            seconds, gigabytes = run_report(folder, COHORTS)
            shutil.rmtree(folder)
            print(f"{images:8,} {round(images * BOXED):6,} {seconds / 60:8.2f} {gigabytes:8.2f}", flush=True)
            if images == OFFICIAL:
                held = seconds / 60 < LIMIT_MINUTES and gigabytes < LIMIT_GB
                print(f"limits of {LIMIT_MINUTES} minutes and {LIMIT_GB} GB: {'held' if held else 'NOT HELD'}")
        ours, theirs, distance = one_replicate(round(OFFICIAL * BOXED), 2000)
        print(f"\npooled pixel AUROC of 880 images, one replicate: {ours * 1e3:.2f} ms of 2,000 drawn together,")
        print(f"scikit-learn {theirs:.2f} s: {theirs / ours:,.0f} times as long; values differ by {distance:.1e}")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _write(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
