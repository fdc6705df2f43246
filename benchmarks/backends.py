"""Speed and deviation of the backends: torch in float32 and bfloat16, ONNX Runtime, OpenVINO.

    python benchmarks/backends.py                              # ViT-Ti of attn_synth, 1 thread
    python benchmarks/backends.py --network small --threads 2  # ViT-S/16 of the same class, random weights

Each backend is exported as `vitad-med export` does it, certificate included, and opened as `vitad-med score` does. All
take turns in one process; ratios to torch float32 are formed round by round. On one thread the clock is the process's
CPU time, which other work on the machine disturbs least; on more it is the wall clock.

The matrix product is torch's own of two square matrices, in the same rounds: what share of its rate a network reaches
says how much another runtime could gain. Operations of the network are counted by torch's FlopCounterMode.

Deviations are from torch float32 over radiographs of `examples/nih_mini`. torch float32 itself is compared with the
same network in float64 (the aggregation of the heads and what follows stay in float32).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import describe_machine
from torch.utils.flop_counter import FlopCounterMode

from vitad_med.data.cache import resized_array
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.intensity import to_unit_range
from vitad_med.engines.precision import cpu_has_bf16
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.state import save_model
from vitad_med.scoring.backends import Backend, open_backend
from vitad_med.scoring.backends.exporting import export
from vitad_med.scoring.bundle import ScoringBundle, load_bundle

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "attn_synth"
SMALL: dict[str, Any] = {"architecture": "vit_small_patch16_224", "head_hidden": 2048, "detail_width": 24}
MATRIX = 2048
FP32 = "torch float32"


def load(network: str, folder: Path, amp: bool) -> ScoringBundle:
    """The bundle as shipped, or with a larger network of random weights."""
    keys: dict[str, Any] = {"device": "cpu", "amp": amp}
    if network == "small":
        weights = folder / "model.pt"
        if not weights.exists():
            torch.manual_seed(0)
            save_model(weights, ProxyNetwork(weights="none", **SMALL))
        keys |= {**SMALL, "weights": str(weights)}
    return load_bundle(BUNDLE, keys)


def backends(network: str, folder: Path) -> dict[str, Backend]:
    """By name; 16-bit ones where the CPU has the arithmetic."""
    found: dict[str, Backend] = {}
    for amp in (False, True) if cpu_has_bf16() else (False,):
        bundle = load(network, folder, amp)
        suffix = " bfloat16" if amp else " float32"
        found[f"torch{suffix}"] = open_backend("torch", bundle)
        for name in ("openvino",) if amp else ("onnx", "openvino"):
            path, certificate = export(bundle, name, folder / f"{name}{amp}.onnx")
            figures = ", ".join(f"{key} {value:.1e}" for key, value in certificate.deviation.items())
            print(f"exported {name}{suffix}: {figures}", flush=True)
            found[f"{name}{suffix}"] = open_backend(name, bundle, path)
    return found


def matrix_products(dtype: torch.dtype) -> Callable[[], object]:
    """A product of two square matrices."""
    one, two = torch.rand(2, MATRIX, MATRIX).to(dtype)
    out = torch.empty_like(one)
    return lambda: torch.mm(one, two, out=out)


def in_float64(bundle: ScoringBundle, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Maps and scores of the network in float64 up to the attention of the last block and the logits."""
    network = copy.deepcopy(bundle.network).double()
    network.aggregator.float()
    with torch.no_grad():
        outputs = [network.predict(image[None].double()) for image in images]
    return (
        torch.cat([output.map for output in outputs]).numpy(),
        torch.cat([output.score for output in outputs]).numpy(),
    )


def radiographs(count: int, side: int) -> np.ndarray:
    cases = read_chestxray14(ROOT / "examples" / "nih_mini", section="test")[:count]
    return to_unit_range(resized_array(cases, side, None, 1))


def print_deviations(name: str, found: tuple[np.ndarray, np.ndarray], base: tuple[np.ndarray, np.ndarray]) -> None:
    maps, scores = (np.abs(a.astype(np.float64) - b) for a, b in zip(found, base, strict=True))
    print(
        f"{name:42} score {scores.max():8.1e}   map, mean of an image {maps.mean(axis=(1, 2, 3)).max():8.1e}"
        f"   map, pixel {maps.max():8.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("tiny", "small"), default="tiny")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=32, help="radiographs for the deviations")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as scratch:
        opened = backends(options.network, Path(scratch))
        bundle = load(options.network, Path(scratch), False)
    side = bundle.image_size
    images = np.resize(radiographs(options.batch, side), (options.batch, 1, side, side))
    with FlopCounterMode(display=False) as counter:
        opened[FP32](images[:1])
    operations = counter.get_total_flops()
    work: dict[str, Callable[[], object]] = {
        name: lambda backend=backend: backend(images) for name, backend in opened.items()
    }
    products = {"float32": "matrix product float32", "bfloat16": "matrix product bfloat16"}
    work[products["float32"]] = matrix_products(torch.float32)
    if cpu_has_bf16():
        work[products["bfloat16"]] = matrix_products(torch.bfloat16)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(options.rounds + 1):
        for name, call in work.items():
            start = clock()
            call()
            if number:  # the first round warms up
                seconds[name].append(clock() - start)
    print(f"\n{bundle.pipeline['architecture']}, {side} px, {operations / 1e9:.2f} GFLOP an image")
    kind = "CPU" if options.threads == 1 else "wall"
    print(f"batch {options.batch}, {options.threads} threads, {options.rounds} rounds, {kind} time")
    for name in opened:
        values = seconds[name]
        ratios = [base / value for base, value in zip(seconds[FP32], values, strict=True)]
        product = seconds[products[name.split()[1]]]
        shares = [
            (operations * options.batch / value) / (2 * MATRIX**3 / other)
            for value, other in zip(values, product, strict=True)
        ]
        print(
            f"{name:20}{options.batch / statistics.median(values):8.1f} images/s   "
            f"{statistics.median(ratios):5.2f} times torch float32 ({min(ratios):.2f} to {max(ratios):.2f})   "
            f"{100 * statistics.median(shares):4.0f} % of the matrix product"
        )
    for name in products.values():
        if name in seconds:
            print(f"{name:26}{2 * MATRIX**3 / statistics.median(seconds[name]) / 1e9:8.1f} GFLOP/s")

    given = radiographs(options.images, side)
    base = opened[FP32](given)
    print(f"\nlargest deviations over {len(given)} radiographs")
    for name, backend in opened.items():
        if name != FP32:
            print_deviations(f"{name} from {FP32}", backend(given), base)
    print_deviations(f"{FP32} from float64", base, in_float64(bundle, torch.from_numpy(given)))


if __name__ == "__main__":
    main()
