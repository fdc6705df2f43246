"""Gaussians by position against the way of numpy and scipy and anomalib's PaDiM: fit, factorisation, scoring, memory.

    python benchmarks/gaussian.py                                   # 100 channels on 28 x 28, 200 images, and memory
    python benchmarks/gaussian.py --grid 56 --images 200 2000
    python benchmarks/gaussian.py --channels 550 --grid 56 --only ours --no-times

All ways get the same features, which come in batches of 16 as from a network, and take turns in one process on one
thread; figures are medians of the rounds in CPU time, which other processes disturb least, and ratios are formed round
by round. *fit* collects means and covariances, *factorise* makes of them what scoring needs (a Cholesky factor here, an
inverse elsewhere; anomalib does both in one call, so its fit is compared with the sum), *score* gives the distances of
a batch, *map* upsamples them to 224 px and smooths them with sigma 4. Memory is the peak over that before the first
batch in a process of its own. anomalib is optional: make it an environment of its own with ``pip install
anomalib==2.7.0 -e . -c constraints.txt``, and run the benchmark there.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
import torch
from _machine import describe_machine
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import mahalanobis
from torch import Tensor

from vitad_med.normality.gaussian import GaussianFit
from vitad_med.normality.smoothing import smooth_map

BATCH, SIDE, SIGMA, EPSILON = 16, 224, 4.0, 0.01


def batches(options: argparse.Namespace, images: int) -> Iterator[Tensor]:
    """Features that are correlated among channels, [B, D, h, w], the same for every way; made when they are due."""
    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(options.channels, options.channels, generator=draw) / options.channels**0.5
    for start in range(0, images, BATCH):
        noise = torch.randn(min(BATCH, images - start), options.grid**2, options.channels, generator=draw)
        yield (noise @ mix + 1).transpose(1, 2).reshape(-1, options.channels, options.grid, options.grid)


class Ours:
    """Streaming moments, Cholesky factors, triangular solves."""

    def fit(self, features: Iterator[Tensor]) -> None:
        self.collected = GaussianFit(EPSILON)
        for batch in features:
            self.collected.update(batch)
        assert self.collected.moments.mean is not None  # merges what waits

    def factorise(self) -> None:
        self.model = self.collected.finish()

    def score(self, batch: Tensor) -> Tensor:
        return self.model(batch)

    def maps(self, distances: Tensor) -> Tensor:
        return smooth_map(distances, (SIDE, SIDE), SIGMA)


class NumpyScipy:
    """The published way: all features in memory, ``np.cov`` and ``np.linalg.inv`` of each position, scipy."""

    def fit(self, features: Iterator[Tensor]) -> None:
        kept = np.concatenate([batch.numpy() for batch in features]).reshape(-1, options.channels, options.grid**2)
        identity = EPSILON * np.eye(options.channels)
        self.mean = kept.mean(axis=0)
        self.covariance = np.empty((kept.shape[2], options.channels, options.channels))
        for position in range(kept.shape[2]):
            self.covariance[position] = np.cov(kept[:, :, position], rowvar=False) + identity

    def factorise(self) -> None:
        self.inverse = np.stack([np.linalg.inv(matrix) for matrix in self.covariance])

    def score(self, batch: Tensor) -> Tensor:
        flat = batch.numpy().reshape(len(batch), options.channels, -1)
        found = [
            [mahalanobis(image[:, p], self.mean[:, p], self.inverse[p]) for p in range(flat.shape[2])] for image in flat
        ]
        return torch.tensor(found, dtype=torch.float32).reshape(len(batch), 1, *batch.shape[2:])

    def maps(self, distances: Tensor) -> Tensor:
        up = torch.nn.functional.interpolate(distances, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        return torch.stack([torch.from_numpy(gaussian_filter(amap[0].numpy(), SIGMA))[None] for amap in up])


class Anomalib:
    """PaDiM's components as its model calls them."""

    def __init__(self) -> None:
        from anomalib.models.components import MultiVariateGaussian
        from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator

        self.gaussian, self.generator = MultiVariateGaussian(), AnomalyMapGenerator(sigma=int(SIGMA))

    def fit(self, features: Iterator[Tensor]) -> None:
        self.gaussian.fit(torch.vstack(list(features)))

    def factorise(self) -> None:
        """Done by the fit."""

    def score(self, batch: Tensor) -> Tensor:
        return self.generator.compute_distance(batch, [self.gaussian.mean, self.gaussian.inv_covariance])

    def maps(self, distances: Tensor) -> Tensor:
        return self.generator.smooth_anomaly_map(self.generator.up_sample(distances, (SIDE, SIDE)))


WAYS: dict[str, Callable[[], Any]] = {"ours": Ours, "numpy": NumpyScipy, "anomalib": Anomalib}


def available() -> list[str]:
    """Names of the ways that can be taken here."""
    names = [name for name in WAYS if options.only is None or name in options.only]
    if "anomalib" in names:
        try:
            Anomalib()
        except ImportError:
            print(
                "anomalib is not installed: `pip install anomalib==2.7.0` in an environment of its own, and run there\n"
            )
            names.remove("anomalib")
    return names


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returned."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def times(names: list[str]) -> None:
    """Print what each step costs in each way."""
    images = options.images[0]
    features = list(batches(options, images))
    asked = torch.cat(features)[: options.score_batch]
    seconds: dict[tuple[str, str], list[float]] = {}
    distances: dict[str, Tensor] = {}
    for repeat in range(options.repeats + 1):
        for name in names:
            way = WAYS[name]()
            fit, _ = timed(lambda way=way: way.fit(iter(features)))
            factorise, _ = timed(way.factorise)
            for _ in range(2):  # the first call warms up
                score, distances[name] = timed(lambda way=way: way.score(asked))
                maps, _ = timed(lambda way=way, found=distances[name]: way.maps(found))
            if repeat:  # the first round warms up
                found = {"fit": fit, "factorise": factorise, "fit + factorise": fit + factorise}
                found |= {"score": score, "score + map": score + maps}
                for step, value in found.items():
                    seconds.setdefault((step, name), []).append(value)
    print(
        f"{options.channels} channels on {options.grid} x {options.grid}, {images} images; score of "
        f"{options.score_batch} images at a time, {options.repeats} rounds\n"
    )
    print(f"{'step':18}" + "".join(f"{name:>12}" for name in names) + "   times ours (round by round)")
    for step in ("fit", "factorise", "fit + factorise", "score", "score + map"):
        own = seconds[step, names[0]]
        row, ratios = f"{step:18}", []
        for name in names:
            values = seconds[step, name]
            if name == "anomalib" and step in ("fit", "factorise"):
                row += f"{'-':>12}"
                continue
            row += f"{1e3 * statistics.median(values):9.1f} ms"
            if name != names[0]:
                quotients = [value / base for value, base in zip(values, own, strict=True)]
                ratios.append(
                    f"{name} {statistics.median(quotients):.2f} ({min(quotients):.2f} to {max(quotients):.2f})"
                )
        print(row + "   " + ", ".join(ratios))
    for name in names[1:]:
        worst = float((distances[name] / distances[names[0]] - 1).abs().max())
        print(f"largest relative difference of distances, {name}: {worst:.1e}")


def peak() -> float:
    """Peak memory of this process so far, MiB."""
    # Not ru_maxrss, which a child process inherits from the one that started it.
    status = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in status if line.startswith("VmHWM"))) / 2**10


def memory_of(name: str, images: int) -> None:
    """Print the peak memory of fit, factorisation and one scoring, in MiB over that before."""
    way = WAYS[name]()
    asked = next(batches(options, BATCH))
    before = peak()
    start = time.process_time()
    way.fit(batches(options, images))
    way.factorise()
    found = way.score(asked)
    assert bool(found.isfinite().all())
    print(f"{peak() - before:.0f} {time.process_time() - start:.1f}")


def memory(names: list[str]) -> None:
    """Print the peak of every way at every number of images, each in a process of its own."""
    print("\npeak memory of fit, factorisation and scoring, MiB (CPU seconds with making the features)")
    print(f"{'images':>8}" + "".join(f"{name:>20}" for name in names))
    for images in options.images:
        row = f"{images:8}"
        for name in names:
            own = [sys.executable, __file__, "--memory_of", name, str(images), *sys.argv[1:]]
            done = subprocess.run(own, capture_output=True, text=True)
            mib, seconds = done.stdout.split()[-2:] if done.returncode == 0 else ("died", "-")
            row += f"{mib:>12} ({seconds:>5})"
        print(row, flush=True)


def main() -> None:
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)  # numpy's and scipy's BLAS
    if options.memory_of:
        memory_of(options.memory_of[0], int(options.memory_of[1]))
        return
    print(describe_machine())
    names = available()
    if options.times:
        times(names)
    memory(names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--grid", type=int, default=28)
    parser.add_argument("--images", type=int, nargs="+", default=[200, 2000], help="times are taken of the first")
    parser.add_argument("--score_batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=WAYS)
    parser.add_argument("--times", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--memory_of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    main()
