"""Evaluation at several image sizes (Bozorgtabar et al., AAAI 2023, "Multi-Scale Evaluation").

Each image is read once, at the largest size, and resized from there to every other one, by the antialiased function
that resizes all images of this package. The maps of all sizes are brought to one size and averaged; the image score is
the mean probability or a majority vote.

MONAI's ``TestTimeAugmentation`` is not used: it draws random transforms, where the sizes here are a fixed list; it pads
the realisations of a batch to the largest, and a border of zeros draws attention; it inverts and combines one tensor,
where score and map are combined by different rules; and it copies and transforms image by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn import functional as F

from vitad_med.data.image_io import resize
from vitad_med.engines.precision import Precision
from vitad_med.errors import ConfigError
from vitad_med.networks.positions import PositionCache
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.vit import patch_size
from vitad_med.outputs import AnomalyOutput, ProxyOutput

PAPER_SIZES = (224, 320, 384, 416, 448, 512)

MapAverage = Literal["probability", "scaled_attention"]
ImageScore = Literal["mean_probability", "vote"]


class MultiScaleInferer(Inferer):
    """Calls a proxy network on images at several sizes and combines what it says.

    The attention of CLS to N patches falls as 1/N: raw maps of 512 px have .19 of the values of 224 px, and their mean
    would be the smallest size's map. Both averages here are free of that: the network multiplies attention by N before
    its affine map and sigmoid.

    Args:
        sizes: sides in pixels, multiples of the patch size, without repetition.
        map_average: ``probability`` averages the maps after the sigmoid, as the paper averages segmentation maps;
            ``scaled_attention`` averages them before it, where they are N times the attention up to an affine map.
        image_score: ``mean_probability`` is the mean over sizes of the probability of class 1. ``vote``, the paper's,
            is the share of sizes at which class 1 is the likelier one, so that .5 separates the majorities; a draw
            counts as half a vote more or less than half of the votes, by the mean probability. With six sizes a vote
            tells seven counts apart, too few for a ranking: figures such as AUROC, and thresholds, want the mean.
        amp: 16-bit arithmetic where the device has it.
        part_patches: at most so many patches, of all images together, in one forward pass; bounds memory, and changes
            results by rounding only.
        patch_size: of the network, to refuse sizes when the inferer is made; None leaves that to the first images.

    Raises:
        ConfigError: see :func:`check_sizes`; an unknown average or score.
    """

    def __init__(
        self,
        sizes: Sequence[int] = PAPER_SIZES,
        map_average: MapAverage = "probability",
        image_score: ImageScore = "mean_probability",
        amp: bool = False,
        part_patches: int = 4096,
        patch_size: int | None = None,
    ) -> None:
        super().__init__()
        _one_of("map_average", map_average, get_args(MapAverage))
        _one_of("image_score", image_score, get_args(ImageScore))
        if part_patches < 1:
            raise ConfigError(f"part_patches {part_patches} must be at least 1")
        check_sizes(sizes, patch_size)
        self.sizes = tuple(sizes)
        self.map_average = map_average
        self.image_score = image_score
        self.amp = amp
        self.part_patches = part_patches
        self._positions = PositionCache()

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: ProxyNetwork, *args: Any, **kwargs: Any
    ) -> AnomalyOutput:
        """Score [B] and map [B, 1, H, W], float32, of images [B, C, H, W] in 0..1.

        Give the images at the largest size: detail that they lack is not made up by resizing.

        Raises:
            ConfigError: the patches of the network do not tile one of the sizes.
        """
        check_sizes(self.sizes, patch_size(network.encoder))
        probabilities: list[Tensor] = []
        total: Tensor | None = None
        with torch.no_grad(), Precision.of(inputs.device, self.amp).autocast():
            for size in self.sizes:
                probability, amap = self._at(size, inputs, network)
                probabilities.append(probability)
                total = amap if total is None else total.add_(amap)
            assert total is not None
            average = total / len(self.sizes)
            if self.map_average == "scaled_attention":
                average = average.sigmoid()
        return AnomalyOutput(combine_scores(torch.stack(probabilities), self.image_score), average)

    def _at(self, size: int, inputs: Tensor, network: ProxyNetwork) -> tuple[Tensor, Tensor]:
        """Probabilities [B] at one size, and the terms [B, 1, H, W] of the average of maps, both float32."""
        side = size // patch_size(network.encoder)
        height, width = inputs.shape[-2:]
        probabilities, maps = [], []
        with self._positions.on_grid(network.encoder, (side, side)):
            for part in inputs.split(max(1, self.part_patches // side**2)):
                output = network.train_outputs(resize(part, size))
                probability, amap = self._finish(output, (height, width))
                probabilities.append(probability.float())
                maps.append(amap.float())
        return torch.cat(probabilities), torch.cat(maps)

    def _finish(self, output: ProxyOutput, size: tuple[int, int]) -> AnomalyOutput:
        finished = ProxyNetwork.finish(output, size)
        if self.map_average == "probability":
            return finished
        logits = F.interpolate(output.map_logits, size=size, mode="bilinear", align_corners=False)
        return AnomalyOutput(finished.score, logits)


def combine_scores(probabilities: Tensor, image_score: ImageScore = "mean_probability") -> Tensor:
    """Image scores [B] in 0..1 from the probabilities of class 1 at T sizes, [T, B]; see :class:`MultiScaleInferer`."""
    mean = probabilities.mean(dim=0)
    if image_score == "mean_probability":
        return mean
    count = len(probabilities)
    votes = (probabilities > 0.5).sum(dim=0).to(probabilities.dtype)
    decided = torch.where(mean > 0.5, votes + 0.5, votes - 0.5)
    return torch.where(2 * votes == count, decided, votes) / count


def check_sizes(sizes: Sequence[int], patch: int | None = None) -> None:
    """Refuse a list of sizes that cannot be evaluated.

    Args:
        sizes: sides in pixels.
        patch: side of a patch in pixels; None does not look at it.

    Raises:
        ConfigError: no list, an empty one, a size that is no whole number above 0, twice the same, or one that patches
            do not tile.
    """
    if isinstance(sizes, str) or not isinstance(sizes, Sequence) or not sizes:
        raise ConfigError(f"sizes is {sizes!r}, but must be a list of at least one size in pixels, e.g. [224, 384]")
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"sizes holds {size!r}: use whole numbers of pixels, e.g. [224, 384]")
        if patch is not None and size % patch:
            below = size // patch * patch
            near = f"{below} or {below + patch}" if below else str(patch)
            raise ConfigError(f"sizes holds {size}, which is no multiple of the patch size {patch}: use {near}")
    twice = sorted({size for size in sizes if list(sizes).count(size) > 1})
    if twice:
        raise ConfigError(f"sizes holds {twice[0]} more than once: each size has one vote, leave the repetition out")


def largest(sizes: Sequence[int]) -> int:
    """The size at which images are read, once; see :func:`check_sizes` for its errors."""
    check_sizes(sizes)
    return max(sizes)


def check_source(source_size: int, sizes: Sequence[int]) -> None:
    """Refuse images that are read smaller than the largest size at which they are looked at.

    Raises:
        ConfigError: names the key and the remedy.
    """
    if source_size < largest(sizes):
        raise ConfigError(
            f"source_size {source_size} is below {largest(sizes)}, the largest of sizes, which would be an enlargement "
            f"without its detail: leave source_size out, or leave the larger sizes out"
        )


def listed(sizes: Sequence[int]) -> str:
    """The sizes as one plain value for the journal of a run, ``224, 320``."""
    check_sizes(sizes)
    return ", ".join(str(size) for size in sizes)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}, but must be one of {', '.join(map(repr, allowed))}")
