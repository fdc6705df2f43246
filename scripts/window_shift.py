"""How scores and maps shift when radiographs come as 12-bit DX under another window than they were stored with.

    python scripts/window_shift.py examples/nih_mini --bundle bundles/attn_synth

Every radiograph is scored as the 8-bit picture that it is, and wrapped as DX (`scripts/make_dx.py`) in the ways below.
Prints a Markdown table: median and largest change of the score, Spearman correlation of scores over images, and the
median over images of Pearson's correlation between the maps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `scripts` is no part of the installed package

from scripts.make_dx import make_dx
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.dicom.pixels import TOP, read_radiograph
from vitad_med.data.image_io import read_image, resize, to_channels
from vitad_med.errors import ConfigError
from vitad_med.scoring.bundle import ScoringBundle, load_bundle

Images = NDArray[np.float32]

CENTRE, WIDTH = 2048, 4096


@dataclass(frozen=True)
class Wrapping:
    """One way to wrap a radiograph.

    Attributes:
        name: for the table.
        options: of ``make_dx``.
        change: of the file afterwards.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[FileDataset], None] | None = None


def _sigmoid(made: FileDataset) -> None:
    made.VOILUTFunction = "SIGMOID"


def _without_window(made: FileDataset) -> None:
    del made.WindowCenter, made.WindowWidth


WRAPPINGS = (
    Wrapping("window of all 4,096 values"),
    Wrapping("the same, MONOCHROME1 with inverted pixels", {"monochrome1": True}),
    Wrapping("window wider by a quarter", {"window": (CENTRE, WIDTH * 1.25)}),
    Wrapping("window narrower by a tenth", {"window": (CENTRE, WIDTH * 0.9)}),
    Wrapping("window narrower by a quarter", {"window": (CENTRE, WIDTH * 0.75)}),
    Wrapping("window of half the width", {"window": (CENTRE, WIDTH * 0.5)}),
    Wrapping("centre lower by a tenth of the width", {"window": (CENTRE - WIDTH * 0.1, WIDTH)}),
    Wrapping("centre higher by a tenth of the width", {"window": (CENTRE + WIDTH * 0.1, WIDTH)}),
    Wrapping("SIGMOID of the same centre and width", change=_sigmoid),
    Wrapping("no window: percentiles .5 and 99.5", change=_without_window),
)


@dataclass(frozen=True)
class Shift:
    """What a wrapping changes.

    Attributes:
        name: of the wrapping.
        median, largest: of the absolute change of scores.
        rank: Spearman's correlation of scores over images.
        maps: median over images of Pearson's correlation between the two maps.
    """

    name: str
    median: float
    largest: float
    rank: float
    maps: float


def wrapped(image: NDArray[np.floating], wrapping: Wrapping, path: Path) -> Images:
    """A radiograph [H, W] in 0..1 as it comes back from a DX file of this kind."""
    made = make_dx(image, "1", **wrapping.options)
    if wrapping.change is not None:
        wrapping.change(made)
    made.save_as(path, enforce_file_format=True)
    return read_radiograph(path).values.astype(np.float32) / TOP


def scored(bundle: ScoringBundle, images: Sequence[Images], batch_size: int) -> tuple[NDArray, NDArray]:
    """Scores [N] and maps [N, H, W] of images [H, W] in 0..1."""
    scores, maps = [], []
    for start in range(0, len(images), batch_size):
        grids = [
            to_channels(resize(image[None], bundle.image_size), bundle.channels)
            for image in images[start : start + batch_size]
        ]
        with torch.no_grad():
            output = bundle.inferer(torch.from_numpy(np.stack(grids)).to(bundle.device), bundle.network)
        scores.append(output.score.float().cpu().numpy())
        maps.append(output.map[:, 0].float().cpu().numpy())
    return np.concatenate(scores), np.concatenate(maps)


def compare(name: str, reference: tuple[NDArray, NDArray], other: tuple[NDArray, NDArray]) -> Shift:
    """Scores and maps of the same images twice."""
    change = np.abs(other[0] - reference[0])
    correlations = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(reference[1], other[1], strict=True)]
    rank = float(spearmanr(reference[0], other[0]).statistic)
    return Shift(name, float(np.median(change)), float(change.max()), rank, float(np.median(correlations)))


def shifts(bundle: ScoringBundle, images: Sequence[Images], batch_size: int = 8) -> tuple[list[Shift], float]:
    """The shift of every wrapping, and the standard deviation of the scores of the pictures themselves."""
    reference = scored(bundle, images, batch_size)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dx.dcm"
        for wrapping in WRAPPINGS:
            others = [wrapped(image, wrapping, path) for image in images]
            found.append(compare(wrapping.name, reference, scored(bundle, others, batch_size)))
    return found, float(reference[0].std())


def table(found: Sequence[Shift]) -> str:
    """Markdown."""
    lines = ["| wrapped as 12-bit DX | median | largest | rank | maps |", "|---|---|---|---|---|"]
    lines += [f"| {s.name} | {s.median:.2g} | {s.largest:.2g} | {s.rank:.4f} | {s.maps:.4f} |" for s in found]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset_dir", type=Path, help="data set in the layout of ChestX-ray14")
    parser.add_argument("--bundle", type=Path, default=Path("bundles/attn_synth"))
    parser.add_argument("--images", type=int, help="at most so many of its test images; all by default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="key of the bundle's config")
    options = parser.parse_args(arguments)
    overrides = dict(pair.split("=", 1) for pair in options.set)
    cases = read_chestxray14(options.dataset_dir, section="test")[: options.images]
    if len(cases) < 3:
        raise ConfigError(f"--images {options.images}: a correlation takes at least 3")
    bundle = load_bundle(options.bundle, overrides)
    images = [read_image(case.image_path)[0] for case in cases]
    found, spread = shifts(bundle, images)
    print(table(found))
    print(f"\n{len(images)} images, {bundle.name} {bundle.version}; scores have a standard deviation of {spread:.2g}.")


if __name__ == "__main__":
    main()
