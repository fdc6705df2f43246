"""Cost of a step of test-time adaptation: its time as a multiple of a plain forward pass, and its peak memory.

    python benchmarks/adaptation.py                                   # ViT-Ti with the shipped model's shape, 224 px
    python benchmarks/adaptation.py --network small --image_size 512
    python benchmarks/adaptation.py --memory                          # both networks, 224 and 512 px; minutes

Time: all methods and the plain forward pass take turns in one process. A step makes new predictions with the updated
model (``predict: after_step``), one more forward pass; "update alone" leaves them out. On one CPU thread the clock is
the process's CPU time, which other processes on the machine disturb least; otherwise it is the wall clock.

Memory: every figure comes from a process of its own; on a CPU it is what the peak of the resident set gained after the
network and the images were there, on a GPU what torch allocated beyond them. ``parts`` is what the package does;
``whole`` makes the N x N attention of the last block at once; ``plain`` and ``fused`` force the attention of all
blocks, which the adapter otherwise chooses by the number of tokens on a CPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from _machine import describe_machine
from torch import Tensor

from vitad_med.adaptation import adapter as adapter_module
from vitad_med.adaptation.adapter import TestTimeAdapter
from vitad_med.adaptation.guard import Guard
from vitad_med.adaptation.methods import Alignment, Method, PseudoLabel, Tent
from vitad_med.networks import attention_entropy
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.objectives.alignment import AlignmentLoss

NETWORKS: dict[str, dict[str, Any]] = {
    "tiny": {"architecture": "vit_tiny_patch16_224", "detail_width": 24},
    "small": {"architecture": "vit_small_patch16_224", "head_hidden": 2048},
}
METHODS = ("alignment", "tent", "pseudo_label")
MEMORY = (
    ("forward", "parts"),
    ("tent", "parts"),
    *(("alignment", kind) for kind in ("parts", "whole", "plain", "fused")),
)
FORCED = {"plain": 1 << 30, "fused": 0}
MEGABYTE = 1 << 20


class AnyAlignment(Alignment):
    """Alignment to arbitrary statistics: what they are costs nothing."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.renormalise = True
        self.criterion = AlignmentLoss(torch.ones(2, tokens), torch.ones(2, tokens)).to(device)


def build(options: argparse.Namespace) -> tuple[ProxyNetwork, Tensor]:
    """An untrained network on the device, and a batch of noise."""
    torch.manual_seed(0)
    network = ProxyNetwork(weights="none", image_size=options.image_size, **NETWORKS[options.network])
    size = options.image_size
    return network.eval().to(options.device), torch.rand(options.batch, 1, size, size, device=options.device)


def create(name: str, image_size: int, device: torch.device) -> Method:
    """A method by name."""
    if name == "alignment":
        return AnyAlignment((image_size // 16) ** 2, device)
    return Tent() if name == "tent" else PseudoLabel()


@contextmanager
def attention(kind: str) -> Iterator[None]:
    """Force ``plain`` or ``fused`` attention in all blocks while the adapter learns on a CPU."""
    chosen = adapter_module.PLAIN_TOKENS
    adapter_module.PLAIN_TOKENS = FORCED.get(kind, chosen)
    try:
        yield
    finally:
        adapter_module.PLAIN_TOKENS = chosen


def plain(network: ProxyNetwork, images: Tensor) -> None:
    """What an evaluation without adaptation does."""
    with torch.no_grad():
        network.predict(images)


def update(adapter: TestTimeAdapter, images: Tensor, kind: str) -> None:
    """An update without new predictions, with a kind of attention."""
    with attention(kind):
        adapter.step(images, predict=False)


def time_steps(options: argparse.Namespace) -> None:
    """Print seconds, ratios to the plain forward pass, and their spread."""
    device = torch.device(options.device)
    network, images = build(options)
    work: dict[str, Callable[[], object]] = {"plain forward": lambda: plain(network, images)}
    for name in METHODS:
        # All adapt one network: its values change, their number does not.
        adapter = TestTimeAdapter(network, create(name, options.image_size, device))
        work[f"{name}, update alone"] = lambda adapter=adapter: adapter.step(images, predict=False)
        work[name] = lambda adapter=adapter: adapter.step(images)
        if name == "alignment" and device.type == "cpu":
            for kind in FORCED:
                work[f"{name}, {kind}, update alone"] = lambda adapter=adapter, kind=kind: update(adapter, images, kind)
    if options.guard:
        held = torch.rand(options.guard, 1, options.image_size, options.image_size)
        guard = Guard(held, held.flip(0), [str(index) for index in range(len(held))], replicates=50)
        guard.calibrate(adapter.score)
        work[f"guard reading, 2 x {options.guard} images"] = lambda: guard.read(adapter.score)
    alone = options.threads == 1 and device.type == "cpu"
    clock = time.process_time if alone else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(options.repeats + 1):
        for name, step in work.items():
            start = clock()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:  # the first round warms up
                seconds[name].append(clock() - start)
    reference = statistics.median(seconds["plain forward"])
    shape = f"{options.network}, {options.batch} images of {options.image_size} px on {device}"
    print(f"\n{shape}, {options.repeats} rounds, {'CPU' if alone else 'wall'} time")
    for name, values in seconds.items():
        ratios = [value / base for value, base in zip(values, seconds["plain forward"], strict=True)]
        median = statistics.median(values)
        print(
            f"{name:32}{1e3 * median:9.0f} ms   ratio {median / reference:5.2f}"
            f"   (round by round {min(ratios):.2f} to {max(ratios):.2f})"
        )


def peak_megabytes(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / MEGABYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024


def measure_memory(options: argparse.Namespace) -> None:
    """In a process of its own: print what one step adds to the peak, in MB, as JSON."""
    device = torch.device(options.device)
    network, images = build(options)
    if options.attention == "whole":
        attention_entropy.attention_entropy.__kwdefaults__["chunk_elements"] = 1 << 62
    plain(network, images[:1, :, :32, :32])  # what libraries load on first use is no part of a step
    before = peak_megabytes(device)
    if options.memory_of == "forward":
        plain(network, images)
    else:
        adapter = TestTimeAdapter(network, create(options.memory_of, options.image_size, device))
        update(adapter, images, options.attention)
    after = peak_megabytes(device)
    print(json.dumps({"before": before, "after": after}))


def memory_table(options: argparse.Namespace) -> None:
    """One process a line."""
    print(f"\n{options.batch} images on {options.device}; MB beyond network and images, and the whole process")
    for network in NETWORKS:
        for image_size in (224, 512):
            for name, attention in MEMORY:
                command = [sys.executable, str(Path(__file__).resolve()), "--memory_of", name, "--attention", attention]
                command += ["--network", network, "--image_size", str(image_size), "--batch", str(options.batch)]
                command += ["--device", options.device, "--threads", str(options.threads)]
                done = subprocess.run(command, capture_output=True, text=True)
                label = f"{network:6}{image_size:4} px  {name:10} {attention if name == 'alignment' else '':6}"
                if done.returncode:
                    print(f"{label}  failed: {(done.stderr.strip().splitlines() or ['killed'])[-1][:80]}")
                    continue
                found = json.loads(done.stdout.splitlines()[-1])
                print(f"{label} {found['after'] - found['before']:8.0f} {found['after']:8.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="tiny", help="shape of the shipped model or the paper's")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--guard", type=int, default=64, help="held normal images of the guard; 0 leaves it out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--memory_of", choices=("forward", *METHODS), help=argparse.SUPPRESS)
    parser.add_argument("--attention", choices=("parts", "whole", *FORCED), default="parts", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        measure_memory(options)
        return
    print(describe_machine())
    if options.memory:
        memory_table(options)
    else:
        time_steps(options)


if __name__ == "__main__":
    main()
