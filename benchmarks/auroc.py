"""AUROC and average precision of many scores: the streaming counter and sorting against scikit-learn and torchmetrics.

    python benchmarks/auroc.py             # 1e7 scores
    python benchmarks/auroc.py --n 1e8     # torchmetrics and scikit-learn need about 6 GB

Each method runs in a process of its own on the same seeded scores. Time is the best of ``--repeats``; memory is the
peak of the process above what it held with the scores loaded, from /proc (Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import vitad_med  # noqa: F401  # lets torchmetrics import torchvision beside CPU torch

METHODS = ("streaming", "sorting", "scikit-learn", "torchmetrics")


def make_scores(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Seeded float32 scores in 0..1 and bool labels with 8 % positives, filled in place to keep the peak low."""
    generator = np.random.default_rng(0)
    scores, labels = np.empty(n, dtype=np.float32), np.empty(n, dtype=bool)
    step = 1 << 20
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        size = part.stop - start
        labels[part] = generator.random(size, dtype=np.float32) < 0.08
        logits = generator.standard_normal(size, dtype=np.float32) + labels[part] * np.float32(0.7) - 1
        scores[part] = 1 / (1 + np.exp(-logits))
    return scores, labels


def measure(method: str, scores: np.ndarray, labels: np.ndarray) -> dict[str, float | str]:
    """AUROC and average precision by one method."""
    if method == "streaming":
        from vitad_med.metrics.streaming import StreamingAUROC

        meter = StreamingAUROC(0.0, 1.0)
        meter.update(scores, labels)
        return {
            "auroc": meter.auroc(),
            "ap": meter.average_precision(),
            "auroc_bound": meter.bound(),
            "ap_bound": meter.average_precision_bound(),
        }
    if method == "sorting":
        from vitad_med.metrics.exact import exact_auroc_and_average_precision

        auroc, precision = exact_auroc_and_average_precision(scores[labels], scores[~labels])
        return {"auroc": auroc, "ap": precision}
    if method == "scikit-learn":
        from sklearn.metrics import average_precision_score, roc_auc_score

        return {
            "auroc": float(roc_auc_score(labels, scores)),
            "ap": float(average_precision_score(labels, scores)),
        }
    import torch
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    s, y = torch.from_numpy(scores), torch.from_numpy(labels).to(torch.uint8)
    return {
        "auroc": float(binary_auroc(s, y, validate_args=False)),
        "ap": float(binary_average_precision(s, y, validate_args=False)),
    }


def memory(key: str) -> float | None:
    """Megabytes of this process: ``VmRSS`` now, ``VmHWM`` the peak since it was last reset."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def child(method: str, n: int, repeats: int) -> None:
    """Measure one method and print the figures as JSON."""
    # Imports count neither as time nor as memory.
    warm_scores, warm_labels = make_scores(4096)
    measure(method, warm_scores, warm_labels)
    scores, labels = make_scores(n)
    times, peak, result = [], None, {}
    for repeat in range(repeats):
        if repeat == 0 and Path("/proc/self/clear_refs").exists():
            Path("/proc/self/clear_refs").write_text("5")
        held = memory("VmRSS")
        start = time.perf_counter()
        result = measure(method, scores, labels)
        times.append(time.perf_counter() - start)
        if repeat == 0 and held is not None:
            peak = (memory("VmHWM") or held) - held
    print(json.dumps({**result, "seconds": min(times), "extra_mb": peak}))


def main() -> None:
    """Run every method and print times, ratios, memory and distances to the exact value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=float, default=1e7, help="number of scores (default 1e7)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each method, the fastest counts (default 3)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--child", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    n = int(args.n)
    if args.child:
        child(args.child, n, args.repeats)
        return
    from _machine import describe_machine

    print(describe_machine())
    print(f"\n{n:,} float32 scores, 8 % positive; AUROC and AP together, best of {args.repeats}")
    rows = {}
    for method in args.methods:
        command = [sys.executable, __file__, "--child", method, "--n", str(n), "--repeats", str(args.repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{method:14s} failed: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
            continue
        rows[method] = json.loads(done.stdout.splitlines()[-1])
    for method, row in rows.items():
        extra = "n/a" if row["extra_mb"] is None else f"{row['extra_mb']:.0f} MB"
        print(
            f"{method:14s} {row['seconds']:8.3f} s  {row['seconds'] / n * 1e9:7.2f} ns/score  "
            f"extra memory {extra:>9s}  AUROC {row['auroc']:.8f}  AP {row['ap']:.8f}"
        )
    for ours in ("streaming", "sorting"):
        for theirs in ("scikit-learn", "torchmetrics"):
            if ours in rows and theirs in rows:
                print(f"{ours} is {rows[theirs]['seconds'] / rows[ours]['seconds']:.1f} times faster than {theirs}")
    if {"streaming", "sorting"} <= rows.keys():
        mine, exact = rows["streaming"], rows["sorting"]
        for name in ("auroc", "ap"):
            distance, bound = abs(mine[name] - exact[name]), mine[f"{name}_bound"]
            print(
                f"{name}: streaming differs from exact by {distance:.2e}, bound {bound:.2e}, holds: {distance <= bound}"
            )


if __name__ == "__main__":
    main()
