"""What the stock MONAI trainer needs to train an autoencoder: the network by name, batches, loss and its watch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from vitad_med.augmentation.affine import RandomAffine
from vitad_med.engines.loading import to_unit_range
from vitad_med.engines.precision import Precision
from vitad_med.errors import ConfigError, VitadError
from vitad_med.networks.anovit import STRIDES, WIDTHS, AnoViT
from vitad_med.networks.autoencoder import PUBLISHED_SIZE, CAEInput, ConvAutoencoder
from vitad_med.networks.reconstruction import Error, ReconstructionNetwork
from vitad_med.networks.vit import use_fused_attention
from vitad_med.reproducibility import generator

logger = logging.getLogger(__name__)


def create_network(
    model: Literal["anovit", "l2_cae"] = "anovit",
    image_size: int = 224,
    channels: int = 1,
    architecture: str = "vit_tiny_patch16_224",
    weights: str = "embedded",
    widths: Sequence[int] = WIDTHS,
    strides: Sequence[int] = STRIDES,
    final_relu: bool = True,
    cae_input: CAEInput = PUBLISHED_SIZE,
    error: Error = "l2",
    smoothing: float = 4.0,
) -> ReconstructionNetwork:
    """AnoViT or the autoencoder it is compared with, by one key.

    Args:
        model: ``anovit`` or ``l2_cae``.
        image_size, channels, error, smoothing: of both.
        architecture, weights, widths, strides, final_relu: of :class:`~vitad_med.networks.anovit.AnoViT`.
        cae_input: of :class:`~vitad_med.networks.autoencoder.ConvAutoencoder`.

    Raises:
        ConfigError, WeightsError: as these.
    """
    if model == "anovit":
        return AnoViT(
            architecture, weights, image_size, channels, widths, strides, final_relu, error=error, smoothing=smoothing
        )
    if model == "l2_cae":
        return ConvAutoencoder(image_size, channels, cae_input, error=error, smoothing=smoothing)
    raise ConfigError(f"model '{model}' is unknown: use 'anovit' or 'l2_cae'")


def say_start(model: str, weights: str, initial_model: str | Path | None = None) -> None:
    """Log where training starts: figures of a random encoder are not those of the paper."""
    if initial_model is not None:
        logger.info("training goes on from %s", Path(initial_model).name)
    elif model == "l2_cae":
        logger.info("model l2_cae: random initial weights, as published; architecture and weights do not apply")
    elif weights == "none":
        logger.warning(
            "weights 'none': the encoder starts from random weights, and the paper's from ImageNet; figures of this "
            "training are no reproduction of its tables"
        )
    else:
        logger.info("encoder from weights '%s'", Path(weights).name)


def listed(values: Sequence[int]) -> str:
    """Whole numbers as text, for the journal of a run."""
    return ", ".join(str(value) for value in values)


class Reconstructor(nn.Module):
    """The network as training sees it: ``forward`` reconstructs, so that stock trainers and DDP can wrap it.

    Args:
        network: the autoencoder.
        amp: mixed precision where the device has it.
    """

    def __init__(self, network: ReconstructionNetwork, amp: bool = False) -> None:
        super().__init__()
        self.network = network
        self.amp = amp

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruction, float32, of images [B, C, H, W] in 0..1."""
        with Precision.of(images.device, self.amp).autocast():
            return self.network.reconstruct(images).float()


def trainable(
    network: ReconstructionNetwork, device: torch.device, amp: bool = False, distributed: bool = False
) -> nn.Module:
    """The module to give a trainer: see :class:`Reconstructor`; ``distributed`` wraps it for several processes."""
    on_gpu = device.type != "cpu"
    if isinstance(network, AnoViT):
        use_fused_attention(network.encoder, on_gpu)
    module = Reconstructor(network, amp)
    if not distributed:
        return module
    return DistributedDataParallel(module, device_ids=[device.index] if on_gpu else None)


def scales_loss(device: torch.device, amp: bool) -> bool:
    """Whether 16-bit training wants MONAI's loss scaling: with fp16, on GPUs that lack bf16, and nowhere else."""
    return device.type == "cuda" and Precision.of(device, amp).dtype is torch.float16


class AutoencoderBatch:
    """MONAI ``prepare_batch``: stored integers to the augmented images and what the network is to make of them.

    It is a handler too, because draws follow from (seed, step, process) and the engine knows the step.

    Args:
        network: says what the target is.
        augment: one transform serves input and target: the target is the augmented image.
        seed: of all draws.
    """

    def __init__(self, network: ReconstructionNetwork, augment: RandomAffine, seed: int = 0) -> None:
        self.network = network
        self.augment = augment
        self.seed = seed
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Take the step from this engine from now on."""
        self._engine = engine

    def __call__(
        self, batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
    ) -> tuple[Tensor, Tensor]:
        """Images [B, C, S, S] in 0..1 and targets of an :class:`~vitad_med.engines.loading.ImageArray` batch."""
        if self._engine is None:
            raise RuntimeError("AutoencoderBatch must be among the trainer's handlers")
        images = to_unit_range(batch["image"], device, non_blocking)
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        images = self.augment(images, generator(self.seed, self._engine.state.iteration - 1, rank))
        return images, self.network.target(images)


class LossWatch:
    """Handler that puts loss and learning rate where progress and tracking look, and stops at a loss that is no number.

    Args:
        optimizer: whose first group's rate is told.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def attach(self, engine: Engine) -> None:
        """Register before the handlers that read ``monitors``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Replace the output, images among it, by the numbers that are kept.

        Raises:
            VitadError: the loss is not finite.
        """
        assert isinstance(engine.state.output, dict)
        loss = float(engine.state.output[CommonKeys.LOSS].detach())
        if not math.isfinite(loss):
            raise VitadError(
                f"the loss is {loss} at step {engine.state.iteration - 1}: lower learning_rate, or set amp to False"
            )
        rate = float(self.optimizer.param_groups[0]["lr"])
        engine.state.output = {"monitors": {"loss": loss, "learning_rate": rate}}
