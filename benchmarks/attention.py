"""Cost of the CLS attention row: `encode`, which recomputes it beside fused attention, against timm's plain forward.

    python benchmarks/attention.py [--architecture vit_small_patch16_224] [--image_size 224] [--batch 8] [--repeats 9]

Alternates the two in one process and prints the ratio of medians; 1.03 means 3 % over the plain forward.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from _machine import describe_machine

from vitad_med.networks.vit import create_vit, encode, use_fused_attention


def seconds(work: Callable[[], object]) -> float:
    """CPU-bound wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="vit_small_patch16_224")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    print(describe_machine())
    vit = create_vit(options.architecture, options.image_size).eval()
    images = torch.rand(options.batch, 3, options.image_size, options.image_size)
    times: dict[str, list[float]] = {"plain": [], "with CLS row": [], "every block unfused": []}
    with torch.no_grad():
        for repeat in range(options.repeats + 1):
            use_fused_attention(vit, True)
            plain = seconds(lambda: vit.forward_features(images))
            with_row = seconds(lambda: encode(vit, images))
            use_fused_attention(vit, False)
            unfused = seconds(lambda: vit.forward_features(images))
            if repeat:  # the first round warms up
                for name, value in zip(times, (plain, with_row, unfused), strict=True):
                    times[name].append(value)
    reference = statistics.median(times["plain"])
    print(f"{options.architecture}, {options.batch} images of {options.image_size} px, {options.repeats} rounds")
    for name, values in times.items():
        ratios = [value / base for value, base in zip(values, times["plain"], strict=True)]
        median = statistics.median(values)
        print(
            f"{name:22}{1e3 * median:9.1f} ms   ratio {median / reference:.3f}"
            f"   (round by round {min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
