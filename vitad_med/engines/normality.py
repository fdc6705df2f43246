"""What the bundle ``contnet_gaussian`` calls: features and detector by its keys, and its one pass over normal images as
an engine, so that handlers such as tracking go with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from ignite.engine import Engine, State

from vitad_med.engines.precision import Precision
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.networks.backbones import UNTRAINED, ContNetFeatures, create_features
from vitad_med.networks.features import FeatureExtractor, Resize
from vitad_med.normality.detector import NormalityDetector, ScoreFrom
from vitad_med.normality.fitting import NormalityFitting, process_shard
from vitad_med.normality.model import NormalityModel
from vitad_med.normality.state import model_digest

__all__ = [
    "OnePass",
    "autocast",
    "check_fit",
    "create_detector",
    "create_extractor",
    "describe",
    "listed",
    "model_digest",
    "process_shard",
]

START = "embedded"

logger = logging.getLogger(__name__)


class Attachable(Protocol):
    """A handler as MONAI's engines take it."""

    def attach(self, engine: Engine) -> None: ...


def create_extractor(
    backbone: str = "vit_tiny_patch16_224",
    backbone_weights: str = START,
    image_size: int = 224,
    features: ContNetFeatures = "pre_transition",
    pre_norm: bool = False,
    layers: Sequence[int] = (-1,),
    stages: Sequence[int] = (1, 2, 3),
    grid: int | Literal["finest"] = "finest",
    resize: Resize = "nearest",
    channels_kept: int | Literal["all"] = 100,
    channel_seed: int = 0,
    remove_image_mean: bool = False,
    amp: bool = False,
) -> FeatureExtractor:
    """:func:`~vitad_med.networks.backbones.create_features` by the keys of a config.

    Args:
        backbone, image_size, features, pre_norm, layers, stages, resize, remove_image_mean: as there.
        backbone_weights: its ``weights``.
        grid: cells on a side of the features; ``finest`` is the finest stage's.
        channels_kept: ``all``, or how many are drawn from ``channel_seed``.
        channel_seed: of that draw.
        amp: whether features are taken in mixed precision. It is among what a fit and a scoring must share, because the
            covariance of a fit has to know the rounding of the features that are scored.

    Raises:
        ConfigError, WeightsError: as there.
    """
    try:
        extractor = create_features(
            backbone,
            backbone_weights,
            image_size,
            features,
            tuple(layers),
            tuple(stages),
            pre_norm,
            None if grid == "finest" else grid,
            resize,
            None if channels_kept == "all" else channels_kept,
            channel_seed,
            remove_image_mean,
        )
    except WeightsError as error:
        # The key `weights` is the fitted model's where images are scored.
        raise WeightsError(f"backbone_weights: {error}") from error
    extractor.settings["amp"] = amp
    return extractor


def create_detector(
    weights: str | Path,
    image_size: int = 224,
    sigma: float = 4.0,
    score_from: ScoreFrom = "final",
    channels: int | None = None,
    **features: Any,
) -> NormalityDetector:
    """The detector of a fitted model.

    Args:
        weights: the file that the fit wrote.
        image_size, sigma, score_from: see :class:`~vitad_med.normality.detector.NormalityDetector`.
        channels: its ``image_channels``.
        features: the other keys of :func:`create_extractor`, as at the fit.

    Raises:
        ConfigError: features, image size or channels other than those of the fit; names the key.
        WeightsError: a file that cannot be read, or other weights of the backbone.
    """
    extractor = create_extractor(image_size=image_size, **features)
    return NormalityDetector(extractor, weights, image_size, sigma, score_from, channels)


def describe(model: NormalityModel) -> str:
    """Kind and settings of a fitted model, for the journal of a run: ``gaussian, epsilon 0.01, images 845``."""
    told = (
        f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in sorted(model.settings.items())
    )
    return ", ".join([model.kind, *told])


def listed(values: Sequence[int]) -> str:
    """Whole numbers as text, for the journal of a run."""
    return ", ".join(str(value) for value in values)


def check_fit(epochs: int, weights: str, backbone: str, backbone_weights: str) -> None:
    """Refuse keys that contradict each other, and say so where features mean little.

    Raises:
        ConfigError: more than one pass, or two sources of the backbone's weights.
    """
    check_one_pass(epochs)
    if weights not in (START, backbone_weights):
        raise ConfigError(
            f"weights is '{weights}' and backbone_weights '{backbone_weights}': both name where the backbone's weights "
            "come from, give backbone_weights alone"
        )
    if backbone_weights in UNTRAINED:
        logger.warning(
            "backbone '%s' has random weights: a model of its features is no reproduction of the paper", backbone
        )


def check_one_pass(epochs: int) -> None:
    """Raise ConfigError unless there is one epoch."""
    if epochs != 1:
        raise ConfigError(
            f"epochs is {epochs}: a fit is one pass, in which every image counts once; a second pass would only count "
            "each twice. Give 1"
        )


def autocast(device: torch.device, amp: bool) -> Callable[[], AbstractContextManager[None]]:
    """What makes the context in which features are taken."""
    return Precision.of(device, amp).autocast


class OnePass(Engine):
    """An engine whose only iteration is a whole fit, which goes on by itself where it was stopped.

    Args:
        fitting: what runs.
        images: that all processes together fit, for tracking.
        max_epochs: 1.
        handlers: attached in this order; None among them are left out.

    Raises:
        ConfigError: more than one epoch.
    """

    def __init__(
        self,
        fitting: NormalityFitting,
        images: int,
        max_epochs: int = 1,
        handlers: Sequence[Attachable | None] = (),
    ) -> None:
        check_one_pass(max_epochs)
        super().__init__(self._fit)
        self.fitting, self.images = fitting, images
        for handler in handlers:
            if handler is not None:
                handler.attach(self)

    def run(self) -> State:  # type: ignore[override]
        """Fit; errors are those of :meth:`~vitad_med.normality.fitting.NormalityFitting.run`."""
        return super().run([None], max_epochs=1)

    def _fit(self, engine: Engine, _: None) -> None:
        self.fitting.run()
        engine.state.metrics["images"] = float(self.images)
