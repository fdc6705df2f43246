"""Time of synthesis per image, both paths, against a multi-crop training step; the target is under 1 % of the step.

    python benchmarks/synthesis.py
    python benchmarks/synthesis.py --threads 2 --image_size 224 --repeats 30

The step is a ViT's forward and backward pass over 2 global views of 224 px and 8 local views of 96 px of 32 images (16
normal ones and their synthetic copies), the papers' batch, in bfloat16 autocast and micro-batches of 8 images. On one
CPU thread the clock is the process's CPU time, which other processes on the machine disturb least; otherwise it is the
wall clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
import torch
from _machine import describe_machine
from torch import nn

from vitad_med.data.folders import images_in
from vitad_med.data.image_io import read_image, resize, to_channels
from vitad_med.networks.vit import create_vit, use_fused_attention
from vitad_med.synthesis import AttnSynth, summarize_info

SOURCES = 16  # images a step turns into anomalies
VIEWS = ((2, 224), (8, 96))
MICRO_BATCH = 8
TARGET = 0.01


def training_step(architecture: str, device: torch.device) -> Callable[[], None]:
    """Forward and backward of all views of 2 x 16 images."""
    vit = create_vit(architecture).to(device).train()
    use_fused_attention(vit, device.type != "cpu")  # as the trainer does
    head = nn.Linear(vit.embed_dim, 2).to(device)
    views = {size: torch.rand(MICRO_BATCH * number, 3, size, size, device=device) for number, size in VIEWS}

    def step() -> None:
        for _ in range(2 * SOURCES // MICRO_BATCH):
            for images in views.values():
                with torch.autocast(device.type, dtype=torch.bfloat16):
                    logits = head(vit(images)).float()
                nn.functional.cross_entropy(logits, torch.ones(len(images), dtype=torch.long, device=device)).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def median_seconds(
    functions: dict[str, Callable[[int], object]], repeats: int, device: torch.device, clock: Callable[[], float]
) -> dict[str, float]:
    """Median time of each, called in turn."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(-1, repeats):
        for name, function in functions.items():
            start = clock()
            function(repeat + 1)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat >= 0:
                times[name].append(clock() - start)
    return {name: float(np.median(kept)) for name, kept in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=Path(__file__).parents[1] / "examples" / "nih_mini" / "images")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--architecture", default="vit_tiny_patch16_224")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--steps", type=int, default=3, help="training steps to time (default 3)")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    alone = arguments.threads == 1 and device.type == "cpu"
    clock = time.process_time if alone else time.perf_counter

    paths = images_in(arguments.images)[:SOURCES]
    images = torch.from_numpy(np.stack([to_channels(resize(read_image(p), arguments.image_size), 1) for p in paths]))
    images = images.to(device)
    y, x = np.mgrid[:14, :14] - 6.5
    grid = np.exp(-(y**2 + x**2) / 32)
    saliency = torch.from_numpy(grid / grid.sum()).float().expand(len(paths), -1, -1).to(device)

    cases: dict[str, dict[str, Any]] = {
        "default": {},
        "mixed gradients": {"gradients": "mixed"},
        "no rotation": {"rotation_probability": 0.0},
        "all rotated": {"rotation_probability": 1.0},
        "paste": {"blend": "paste"},
    }
    with threadpoolctl.threadpool_limits(arguments.threads):
        print(describe_machine())
        step = training_step(arguments.architecture, device)
        whole = median_seconds({"step": lambda _: step()}, arguments.steps, device, clock)["step"]
        print(f"\ntraining step, {arguments.architecture}, {2 * SOURCES} images on {device}: {whole * 1e3:.0f} ms")
        print(f"synthesis of {len(paths)} images of {arguments.image_size} px, ms per image and share of the step\n")
        print("                      per image (numpy)     batched (torch)   redraws")
        worst = {}
        for name, options in cases.items():
            schemes = {path: AttnSynth(renderer=path, **options) for path in ("per_image", "batched")}
            seconds = median_seconds(
                {
                    path: lambda seed, scheme=scheme: scheme.batch(images, saliency, seed)
                    for path, scheme in schemes.items()
                },
                arguments.repeats,
                device,
                clock,
            )
            redraws = summarize_info(schemes["per_image"].batch(images, saliency, 0).info)["redraws"]
            cells = [f"{s * 1e3 / len(paths):8.3f} ms {s / whole:7.2%}" for s in seconds.values()]
            print(f"{name:18s} {cells[0]:>21s} {cells[1]:>21s} {redraws:7.2f}")
            worst[name] = min(seconds.values()) / whole
    print(f"\ndefault options, faster path: {worst['default']:.2%} of a step (target under {TARGET:.0%})")


if __name__ == "__main__":
    main()
