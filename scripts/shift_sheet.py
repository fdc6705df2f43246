"""Draw images under every shift of `vitad_med.data.shifts`, one row an image, one column a shift.

    python scripts/shift_sheet.py examples/nih_mini shifts.png
    python scripts/shift_sheet.py examples/nih_mini shifts.png --images 2 --image_size 512 --seed 3

The folder is a ChestX-ray14 tree, of which the training normals are taken, or holds images. The seed alone chooses.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from contact_sheet import PANEL, choose_images, show
from matplotlib import pyplot as plt

from vitad_med.data.image_io import read_image, resize
from vitad_med.data.shifts import SHIFTS, shift
from vitad_med.errors import VitadError

TITLE = 0.36  # inches, two lines


def draw_shifts(images: list[np.ndarray]) -> plt.Figure:
    """One row per image [C, S, S], with the mean absolute change of intensity below each shift's name."""
    row_height = PANEL + TITLE
    figure, axes = plt.subplots(
        len(images),
        len(SHIFTS),
        figsize=(PANEL * len(SHIFTS), row_height * len(images)),
        gridspec_kw={"wspace": 0.03, "hspace": TITLE / PANEL + 0.03},
        squeeze=False,
        facecolor="white",
    )
    for row, image in zip(axes, images, strict=True):
        for axis, name in zip(row, SHIFTS, strict=True):
            shifted = shift(image, name)
            show(axis, shifted)
            axis.set_title(f"{name}\nchange {np.abs(shifted - image).mean():.3f}", fontsize=8, pad=3)
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=1 - TITLE / (row_height * len(images)))
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="ChestX-ray14 tree, or folder of images")
    parser.add_argument("output", type=Path, help="PNG to write")
    parser.add_argument("--images", type=int, default=1, help="rows (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--image_size", type=int, default=224, help="pixels (default 224)")
    arguments = parser.parse_args()
    try:
        paths = choose_images(arguments.folder, arguments.images, arguments.seed)
        images = [resize(read_image(path), arguments.image_size) for path in paths]
    except VitadError as error:
        print(f"shift_sheet: {error}", file=sys.stderr)
        return 2
    draw_shifts(images).savefig(arguments.output, dpi=150)
    print(f"{arguments.output}: {len(images)} images under {len(SHIFTS)} shifts")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
