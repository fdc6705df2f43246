"""Cost of evaluating at six image sizes: time of one size against all, and what a cache of position embeddings saves.

    python benchmarks/multiscale.py                          # ViT-Ti as the bundle has it, 1 thread
    python benchmarks/multiscale.py --network small --threads 2 --batch 8

All ways take turns in one process; figures are medians of the rounds, and ratios are formed round by round. On one CPU
thread the clock is the process's CPU time, which other processes on the machine disturb least; otherwise it is the wall
clock. Images are given at the largest size, so resizing is part of the time. What more sizes gain in accuracy an
evaluation says: ``evaluate.json`` with ``--sizes "[224]"`` and without.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from _machine import describe_machine
from torch import Tensor

from vitad_med.data.image_io import resize
from vitad_med.engines.inference import AnomalyInferer
from vitad_med.engines.multiscale import PAPER_SIZES, MultiScaleInferer
from vitad_med.engines.precision import Precision
from vitad_med.networks.proxy import ProxyNetwork

NETWORKS: dict[str, dict[str, Any]] = {
    "tiny": {"architecture": "vit_tiny_patch16_224", "detail_width": 24},
    "small": {"architecture": "vit_small_patch16_224", "head_hidden": 2048},
}
SINGLE = 224


class NoCache:
    """Leaves the position embeddings to timm, which resamples them in every forward pass."""

    def on_grid(self, *_: Any) -> nullcontext[None]:
        return nullcontext()


def inferer(sizes: tuple[int, ...], amp: bool, cached: bool = True, part_patches: int = 4096) -> MultiScaleInferer:
    """With timm's own resampling where ``cached`` is False."""
    made = MultiScaleInferer(sizes, amp=amp, part_patches=part_patches)
    if not cached:
        made._positions = NoCache()  # type: ignore[assignment]
    return made


def ways(options: argparse.Namespace) -> dict[str, Callable[[Tensor, ProxyNetwork], object]]:
    """What is timed: name and call."""
    single, one, many = AnomalyInferer(), (SINGLE,), PAPER_SIZES
    found: dict[str, Callable[[Tensor, ProxyNetwork], object]] = {
        "224 px, plain evaluation, fp32": lambda images, network: single(resize(images, SINGLE), network),
        "224 px, fp32": inferer(one, False),
    }
    formats = [("fp32", False)] + ([("16 bit", True)] if Precision.of(options.device, True).dtype else [])
    for name, amp in formats:
        if amp:
            found[f"224 px, {name}"] = inferer(one, amp)
        for size in many[1:] if options.each else ():
            found[f"{size} px, {name}"] = inferer((size,), amp)
        found[f"six sizes, {name}"] = inferer(many, amp)
        found[f"six sizes, {name}, positions resampled"] = inferer(many, amp, cached=False)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="tiny")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--each", action="store_true", help="time every size alone, too")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine())
    torch.manual_seed(0)
    network = ProxyNetwork(weights="none", **NETWORKS[options.network]).eval().to(options.device)
    largest = max(PAPER_SIZES)
    images = torch.rand(options.batch, 1, largest, largest, device=options.device)
    alone = options.threads == 1 and options.device == "cpu"
    clock = time.process_time if alone else time.perf_counter
    work = ways(options)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(options.repeats + 1):
        for name, call in work.items():
            start = clock()
            call(images, network)
            if options.device.startswith("cuda"):
                torch.cuda.synchronize()
            if repeat:  # the first round warms up
                seconds[name].append(clock() - start)
    base = next(iter(seconds.values()))
    precision = Precision.of(options.device, True)
    print(
        f"\n{options.network}, {options.batch} images on {options.device} (16 bit is {precision}), "
        f"{options.repeats} rounds, {'CPU' if alone else 'wall'} time of one image"
    )
    for name, values in seconds.items():
        ratios = [value / first for value, first in zip(values, base, strict=True)]
        median = 1e3 * statistics.median(values) / options.batch
        print(
            f"{name:42}{median:9.1f} ms   ratio {statistics.median(ratios):6.2f}"
            f"   (round by round {min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
