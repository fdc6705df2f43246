"""Draw a contact sheet of synthetic anomalies: image, saliency with both sites, anomaly, mask.

    python scripts/contact_sheet.py examples/nih_mini contact_sheet.png
    python scripts/contact_sheet.py ../shared/data/nih_cxr14_dev sheet.png --saliency local_contrast --seed 3
    python scripts/contact_sheet.py ../shared/data/mvtec_384/screw/train/good screw.png --gradients mixed

The folder is a ChestX-ray14 tree, of which the training normals are taken, or holds images. The seed alone chooses the
images and makes the anomalies: nothing is picked by eye.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from torch.nn.functional import avg_pool2d, interpolate

from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.folders import dataset_folder, images_in
from vitad_med.data.image_io import read_image, resize, to_channels
from vitad_med.errors import DataError, VitadError
from vitad_med.networks.vit import saliency as cls_saliency
from vitad_med.networks.weights import build_encoder
from vitad_med.synthesis import AttnSynth, SyntheticSample

PANEL = 1.75  # inches
CUT, PASTE = "#35d0ff", "#ff8a1f"
HEAT = LinearSegmentedColormap.from_list(
    "heat", [(0, "#00000000"), (0.35, "#5b1a9088"), (0.7, "#e0525fb0"), (1, "#fff2a0d8")]
)

SaliencySource = Callable[[torch.Tensor], torch.Tensor]


def vit_saliency(architecture: str, weights: str, image_size: int) -> SaliencySource:
    """CLS attention of the last block: images [B, C, H, W] to [B, rows, columns]."""
    vit, (mean, std) = build_encoder(architecture, weights, image_size)
    vit.eval()
    mean_pixel, std_pixel = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)

    def source(images: torch.Tensor) -> torch.Tensor:
        return cls_saliency(vit, (images.expand(-1, 3, -1, -1) - mean_pixel) / std_pixel)

    return source


def local_contrast(images: torch.Tensor, patch: int = 16) -> torch.Tensor:
    """Standard deviation of each patch, a saliency that needs no network: [B, C, H, W] to [B, H / 16, W / 16]."""
    grey = images.mean(dim=1, keepdim=True)
    variance = avg_pool2d(grey**2, patch) - avg_pool2d(grey, patch) ** 2
    return variance.clamp(min=0).sqrt()[:, 0]


def choose_images(folder: Path, count: int, seed: int) -> list[Path]:
    """``count`` images that the seed picks, in the order of their names."""
    root = dataset_folder(folder)
    if (root / "train_val_list.txt").exists():
        paths = [case.image_path for case in read_chestxray14(root, section="train")]
    else:
        paths = images_in(root)
    if not paths:
        raise DataError(f"{root} is no ChestX-ray14 tree and holds no images itself: give a folder of normal images")
    chosen = np.random.default_rng(seed).choice(len(paths), size=min(count, len(paths)), replace=False)
    return [paths[k] for k in sorted(chosen)]


def draw_sheet(images: torch.Tensor, saliency: torch.Tensor, samples: list[SyntheticSample]) -> plt.Figure:
    """One row per image [B, C, H, W] with its saliency [B, h, w] and its anomaly."""
    titles = ("image", "saliency, cut, paste", "synthetic anomaly", "mask")
    rows = len(samples)
    figure, axes = plt.subplots(
        rows,
        len(titles),
        figsize=(PANEL * len(titles), PANEL * rows + 0.22),
        gridspec_kw={"wspace": 0.03, "hspace": 0.03},
        squeeze=False,
        facecolor="white",
    )
    size = images.shape[-2:]
    heat = interpolate(saliency[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0].numpy()
    for row, (sample, image) in enumerate(zip(samples, images.numpy(), strict=True)):
        plain, seen, anomaly, mask = axes[row]
        show(plain, image)
        show(seen, image)
        # Bright regions of the image would outshine the map.
        seen.imshow(np.zeros(size), cmap="gray", vmin=0, vmax=1, alpha=0.35)
        low, high = np.quantile(heat[row], [0.02, 0.995])
        seen.imshow(np.clip((heat[row] - low) / max(high - low, 1e-12), 0, 1), cmap=HEAT, interpolation="bilinear")
        draw_sites(seen, sample)
        show(anomaly, sample.image)
        mask.imshow(sample.mask, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        caption(mask, sample)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9, pad=4)
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=1 - 0.24 / (PANEL * rows + 0.22))
    return figure


def show(axis: Axes, image: np.ndarray) -> None:
    axis.set_axis_off()
    axis.imshow(to_channels(image, 3).transpose(1, 2, 0).clip(0, 1), interpolation="bilinear")


def draw_sites(axis: Axes, sample: SyntheticSample) -> None:
    """The rectangle that was cut, dashed, the outline of the pasted region, and an arrow from one to the other."""
    top, left, height, width = sample.info["cut"]
    axis.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, ec=CUT, lw=1.1, ls=(0, (3, 1.5))))
    axis.contour(sample.mask, levels=[0.5], colors=[PASTE], linewidths=1.3)
    box_top, box_left, box_height, box_width = sample.info["box"]
    start = (left + (width - 1) / 2, top + (height - 1) / 2)
    end = (box_left + (box_width - 1) / 2, box_top + (box_height - 1) / 2)
    axis.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": "white", "lw": 0.9, "shrinkA": 0})


def caption(axis: Axes, sample: SyntheticSample) -> None:
    """What was drawn, in small letters."""
    info = sample.info
    axis.set_axis_off()
    words = [info["shape"]]
    if info["angle"]:
        words.append(f"turned {info['angle']:.0f}°")
    if info["scale"] != 1:
        words.append(f"scaled {info['scale']:.2f}")
    # Where the mask is not: boxes in the lower part of the panel leave the upper edge free.
    top, _, height, _ = info["box"]
    y, anchor = (0.03, "bottom") if top + height < 0.85 * len(sample.mask) else (0.97, "top")
    axis.text(0.03, y, ", ".join(words), transform=axis.transAxes, color="#9aa4ad", fontsize=6.5, va=anchor)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="ChestX-ray14 tree, or folder of normal images")
    parser.add_argument("output", type=Path, help="PNG to write")
    parser.add_argument("--count", type=int, default=5, help="rows (default 5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--image_size", type=int, default=224, help="pixels (default 224)")
    parser.add_argument("--saliency", choices=("vit", "local_contrast"), default="vit")
    parser.add_argument("--architecture", default="vit_tiny_patch16_224", help="timm name of the ViT")
    parser.add_argument("--weights", default="embedded", help="embedded, none, a file or a timm name")
    parser.add_argument("--location", default="proportional", help="proportional, softmax or uniform")
    parser.add_argument("--blend", default="poisson", help="poisson or paste")
    parser.add_argument("--gradients", default="source", help="source or mixed")
    parser.add_argument("--mask_from", default="region", help="region or difference")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    try:
        scheme = AttnSynth(
            location=arguments.location,
            blend=arguments.blend,
            gradients=arguments.gradients,
            mask_from=arguments.mask_from,
        )
        paths = choose_images(arguments.folder, arguments.count, arguments.seed)
        pictures = [resize(read_image(path), arguments.image_size) for path in paths]
        channels = max(len(picture) for picture in pictures)
        images = torch.from_numpy(np.stack([to_channels(picture, channels) for picture in pictures]))
        source: SaliencySource = local_contrast
        if arguments.saliency == "vit":
            source = vit_saliency(arguments.architecture, arguments.weights, arguments.image_size)
        saliency = source(images)
        samples = [
            scheme.sample(image.numpy(), grid.numpy(), arguments.seed, index=k)
            for k, (image, grid) in enumerate(zip(images, saliency, strict=True))
        ]
    except VitadError as error:
        print(f"contact_sheet: {error}", file=sys.stderr)
        return 2
    figure = draw_sheet(images, saliency, samples)
    figure.savefig(arguments.output, dpi=130)
    entropy = np.mean([sample.info["entropy"] for sample in samples])
    print(f"{arguments.output}: {len(samples)} anomalies; entropy of the location law over log N: {entropy:.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
