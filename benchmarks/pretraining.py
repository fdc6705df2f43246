"""Step time and peak memory of pre-training at several masking ratios, for both sources of saliency.

    python benchmarks/pretraining.py
    python benchmarks/pretraining.py --architecture vit_small_patch16_224 --device cuda

A step is the trainer's own: views, the teacher's saliency and targets, the student's forward and backward pass over 1
global view of 224 px and 8 local views of 96 px, the optimizer, the moving average. Settings take turns in one process;
the table has medians. On one CPU thread the clock is the process's CPU time, which other processes disturb least, else
the wall clock. Memory is the peak over that before the first step, of a process of its own for each setting; without a
GPU it is read as Linux tells it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from _machine import describe_machine

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.engines.distillation import DistillationTrainer
from vitad_med.engines.loading import ImageArray, train_loader
from vitad_med.engines.optimization import create_optimizer, parameter_groups
from vitad_med.engines.pretraining import create_objective, create_views
from vitad_med.engines.setup import schedule
from vitad_med.networks.distillation import DistillationNetwork

SETTINGS = [(0.0, "per_image"), (0.3, "per_image"), (0.5, "per_image"), (0.3, "per_view"), (0.5, "per_view")]


def make_trainer(options: argparse.Namespace, ratio: float, saliency: str) -> DistillationTrainer:
    """A trainer at the start of its first epoch."""
    torch.manual_seed(0)
    hidden = 2048 if "tiny" not in options.architecture else 512
    student = DistillationNetwork(
        options.architecture, "none", prototypes=20, head_hidden=hidden, head_batch_norm=False
    )
    student = student.to(options.device)
    multicrop = MultiCrop(1, options.global_size, (0.4, 1.0), options.local_views, options.local_size, (0.05, 0.4))
    kind = "attention" if ratio else "none"
    views = create_views("apmask", multicrop, Augment(blur=1.0), student, 0, kind, ratio, saliency)
    optimizer = create_optimizer(parameter_groups([student], 0.04), "adamw", 1e-4)
    side = options.global_size
    images = np.random.default_rng(0).integers(0, 256, (options.batch_size, 1, side, side), dtype=np.uint8)
    loader = train_loader(ImageArray(images), options.batch_size, 0)
    trainer = DistillationTrainer(
        options.device,
        1000,
        loader,
        student,
        student.teacher_copy(),
        create_objective("apmask", 20).to(options.device),
        optimizer,
        schedule(optimizer, loader, 1000, 1),
        views,
        shared_prototypes=True,
    )
    trainer.state.epoch, trainer.state.epoch_length, trainer.state.max_epochs = 2, 1, 1000
    return trainer


def step(trainer: DistillationTrainer, number: int) -> None:
    """One step of training."""
    trainer.state.iteration = number + 1
    trainer._iteration(trainer, next(iter(trainer.data_loader)))
    if trainer.state.device.type == "cuda":
        torch.cuda.synchronize()


def peak(device: str) -> float:
    """Peak memory so far, MiB: of tensors on a GPU, else of the process."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    # Not ru_maxrss, which a child process inherits from the one that started it.
    status = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in status if line.startswith("VmHWM"))) / 2**10


def memory(options: argparse.Namespace, ratio: float, saliency: str) -> float:
    """Peak memory of steps in a process of its own, MiB over that before the first."""
    own = [sys.executable, __file__, "--memory_of", str(ratio), saliency, *sys.argv[1:]]
    return float(subprocess.run(own, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="vit_tiny_patch16_224")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--global_size", type=int, default=224)
    parser.add_argument("--local_size", type=int, default=96)
    parser.add_argument("--local_views", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory_of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        trainer = make_trainer(options, float(options.memory_of[0]), options.memory_of[1])
        before = peak(options.device)
        for number in range(2):
            step(trainer, number)
        print(peak(options.device) - before)
        return
    print(describe_machine())
    trainers = [make_trainer(options, ratio, saliency) for ratio, saliency in SETTINGS]
    clock = time.process_time if options.threads == 1 and options.device == "cpu" else time.perf_counter
    times: list[list[float]] = [[] for _ in SETTINGS]
    for repeat in range(options.repeats + 1):
        for trainer, kept in zip(trainers, times, strict=True):
            start = clock()
            step(trainer, repeat)
            if repeat:  # the first round warms up
                kept.append(clock() - start)
    used = [memory(options, *setting) for setting in SETTINGS]
    print(
        f"{options.architecture}, {options.batch_size} images, 1 view of {options.global_size} px and "
        f"{options.local_views} of {options.local_size}, {trainers[0].precision}, {options.repeats} rounds"
    )
    print("ratio  saliency      s/step   of ratio 0   (round by round)      MiB   of ratio 0")
    for (ratio, saliency), kept, mib in zip(SETTINGS, times, used, strict=True):
        ratios = [value / base for value, base in zip(kept, times[0], strict=True)]
        share = statistics.median(kept) / statistics.median(times[0])
        print(
            f"{ratio:5.2f}  {saliency if ratio else '-':10}{statistics.median(kept):10.2f}{share:13.2f}"
            f"   ({min(ratios):.2f} to {max(ratios):.2f})   {mib:9.0f}{mib / used[0]:13.2f}"
        )


if __name__ == "__main__":
    main()
