"""Time of one Poisson blend of a grey patch against ``cv2.seamlessClone``, in one process, alternating.

    python benchmarks/poisson.py
    python benchmarks/poisson.py --images ../shared/data/nih_cxr14_dev/images --repeats 50 --threads 2

Both blend the same patch of a real X-ray into it; the image is as small as the largest patch of the paper, .4 of its
side, lets it be. ``seamlessClone`` takes 8-bit colour only, so a grey image has to be
given three times over: that is what a user of it pays. The last columns say how exact each is: the largest difference
from a sparse direct solve in grey levels (cv2 rounds to whole levels), and the largest change outside the region.

On one thread the clock is the process's CPU time, which other processes on the machine disturb least; on more it is
the wall clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import threadpoolctl
from _machine import describe_machine
from scipy import sparse
from scipy.sparse.linalg import spsolve

from vitad_med.data.folders import images_in
from vitad_med.data.image_io import read_image, resize, to_channels
from vitad_med.synthesis import PatchLaw, poisson_blend
from vitad_med.synthesis.location import LocationLaw
from vitad_med.synthesis.patch import Placement, draw_placement

SIZES = (22, 45, 67, 90, 134, 204, 270)
TARGET_SIZES, TARGET = (67, 90, 134, 204), 8


def placement_of(size: int, angle: float, side: int) -> Placement:
    """A square of ``size`` px in the middle of an image of ``side`` px, turned by ``angle`` degrees when not 0."""
    law = PatchLaw(
        size_range=(size / side, size / side),
        scar_probability=0,
        jitter_probability=0,
        rescale_probability=0,
        rotation_probability=float(angle != 0),
    )
    # The law draws the angle; the first seed that comes near the one asked for is taken.
    location = LocationLaw(np.pad([[1.0]], 3), side, side)
    for seed in range(2000):
        placement = draw_placement(np.random.default_rng(seed), law, location)
        if abs(placement.angle - angle) < 1:
            return placement
    raise AssertionError("no such angle was drawn")


def direct_blend(image: np.ndarray, patch: np.ndarray, top: int, left: int, region: np.ndarray) -> np.ndarray:
    """The same blend by a sparse direct solve."""
    height, width = region.shape
    window = image[top - 1 : top + height + 1, left - 1 : left + width + 1].astype(np.float64)
    number = np.full(region.shape, -1)
    number[region] = np.arange(region.sum())
    pairs = [(number[:-1], number[1:]), (number[:, :-1], number[:, 1:])]
    rows, columns = [], []
    for first, second in pairs:
        both = (first >= 0) & (second >= 0)
        rows += [first[both], second[both]]
        columns += [second[both], first[both]]
    i, j = np.concatenate(rows), np.concatenate(columns)
    matrix = sparse.csc_matrix((-np.ones(len(i)), (i, j)), shape=(region.sum(),) * 2) + 4 * sparse.eye(region.sum())
    blended = image.astype(np.float64)
    excess = patch - window
    right_side = -cv2.filter2D(excess, -1, np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]))[1:-1, 1:-1]
    change = spsolve(matrix.tocsc(), right_side[region])
    blended[top : top + height, left : left + width][region] += change
    return blended


def alternate(functions: list[Callable[[], object]], repeats: int, clock: Callable[[], float]) -> list[float]:
    """Median seconds of each function, called in turn so that all see the same state of the machine."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(repeats):
        for function, kept in zip(functions, times, strict=True):
            start = clock()
            function()
            kept.append(clock() - start)
    return [float(np.median(kept)) for kept in times]


def compare(image: np.ndarray, size: int, angle: float, repeats: int, clock: Callable[[], float]) -> tuple[str, float]:
    """One row of the table, and how many times faster this package is."""
    placement = placement_of(size, angle, image.shape[-1])
    top, left, height, width = placement.top, placement.left, placement.height, placement.width
    region = np.ones((height, width), dtype=bool) if placement.region is None else placement.region
    # The patch comes from the upper left, unturned: what is timed is the blend, not the cutting.
    patch = image[5 : 5 + height + 2, 5 : 5 + width + 2].astype(np.float64)
    levels = np.round(image * 255).astype(np.uint8)
    colour = cv2.merge([levels] * 3)
    source = np.ascontiguousarray(colour[5 : 5 + height + 2, 5 : 5 + width + 2])
    mask = np.pad(region, 1).astype(np.uint8) * 255
    # seamlessClone centres the mask's bounding box.
    centre = (left + width // 2, top + height // 2)

    def ours() -> np.ndarray:
        return poisson_blend(image, patch, top, left, placement.region)

    def theirs() -> np.ndarray:
        return cv2.seamlessClone(source, colour, mask, centre, cv2.NORMAL_CLONE)

    own, cv = alternate([ours, theirs], repeats, clock)
    exact = direct_blend(image, patch, top, left, region)
    error = 255 * np.abs(poisson_blend(image.astype(np.float64), patch, top, left, placement.region) - exact).max()
    outside = np.ones(image.shape, dtype=bool)
    outside[top : top + height, left : left + width] = ~region
    own_outside = 255 * np.abs(ours() - image)[outside].max()
    cv_outside = np.abs(theirs()[..., 0].astype(int) - levels)[outside].max()
    shape = "square" if angle == 0 else f"turned {angle:.0f}"
    times = f"{size:5d} {shape:10s} {own * 1e3:9.3f} {cv * 1e3:9.3f} {cv / own:8.1f}"
    row = f"{times}   {error:9.1e} {own_outside:9g} {cv_outside:9d}"
    return row, cv / own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=Path(__file__).parents[1] / "examples" / "nih_mini" / "images")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="of BLAS and OpenCV alike (default 1)")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    cv2.setNumThreads(arguments.threads)
    picture = to_channels(read_image(images_in(arguments.images)[0]), 1)
    with threadpoolctl.threadpool_limits(arguments.threads):
        print(describe_machine())
        print(
            f"opencv   {cv2.__version__}, {cv2.getNumThreads()} threads; image 2.5 times the patch, at least 224 px\n"
        )
        print("                        ms        ms    times      levels   outside   outside")
        print("   px region          here       cv2   faster    off here      here       cv2")
        ratios = {}
        for angle in (0, 35):
            for size in SIZES:
                image = resize(picture, max(224, int(2.5 * size)))[0]
                row, ratios[size, angle] = compare(image, size, angle, arguments.repeats, clock)
                print(row, flush=True)
    worst = min(ratios[size, 0] for size in TARGET_SIZES)
    print(f"\nsquares of {TARGET_SIZES[0]}-{TARGET_SIZES[-1]} px: at least {worst:.1f} times faster (target {TARGET})")


if __name__ == "__main__":
    main()
