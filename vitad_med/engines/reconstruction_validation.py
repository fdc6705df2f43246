"""The reconstruction error of held-out normal images, and the model of the epoch where it was lowest."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.intensity import to_unit_range
from vitad_med.engines.distributed import is_first
from vitad_med.engines.precision import Precision
from vitad_med.errors import VitadError
from vitad_med.networks.reconstruction import ReconstructionNetwork
from vitad_med.networks.state import save_model

FIGURE = "validation_error"

logger = logging.getLogger(__name__)


def validation_images(
    records: Sequence[Case], size: int, channels: int, cache_dir: str | Path | None = None
) -> np.ndarray | None:
    """The resized validation images [N, C, size, size], stored integers; None without records."""
    return resized_array(records, size, cache_dir, channels) if records else None


class ReconstructionValidation:
    """Handler that adds the mean squared error of whole normal images to ``engine.state.metrics``.

    The error is Eq. 1 over C H W, without augmentation. Every process of several computes it alike.

    Args:
        images: [N, C, S, S] stored integers, or None to do nothing (no validation patients).
        network: the network in training.
        interval: epochs between validations; the last epoch is always validated.
        batch_size: images in one forward pass.
        amp: mixed precision.
    """

    def __init__(
        self,
        images: np.ndarray | None,
        network: ReconstructionNetwork,
        interval: int = 1,
        batch_size: int = 16,
        amp: bool = False,
    ) -> None:
        self.images = images
        self.network = network
        self.interval = interval
        self.batch_size = batch_size
        self.amp = amp

    def attach(self, engine: Engine) -> None:
        """Register before the handlers that read metrics."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Validate when due; an epoch that was not validated must not show the figure of an earlier one."""
        engine.state.metrics.pop(FIGURE, None)
        due = engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs
        if self.images is not None and due:
            engine.state.metrics[FIGURE] = self.error()

    @torch.no_grad()
    def error(self) -> float:
        """Mean over the images of their mean squared error.

        Raises:
            VitadError: it is not finite.
        """
        assert self.images is not None
        network = self.network
        training = network.training
        network.eval()
        device = next(network.parameters()).device
        total = 0.0
        for start in range(0, len(self.images), self.batch_size):
            part = torch.from_numpy(to_unit_range(np.asarray(self.images[start : start + self.batch_size]))).to(device)
            with Precision.of(device, self.amp).autocast():
                reconstruction = network.reconstruct(part)
            squared = (reconstruction.float() - network.target(part)).square()
            total += float(squared.mean(dim=(1, 2, 3)).double().sum())
        network.train(training)
        if not math.isfinite(total):
            raise VitadError(
                "validation images are reconstructed as NaN or infinity: lower learning_rate, or set amp to False"
            )
        return total / len(self.images)


class BestEpoch:
    """Handler that keeps the network of the epoch with the lowest validation error and writes it at each improvement.

    Its state belongs into the checkpoint, so that a resumed training knows the best epoch of the whole. Where nothing
    is validated, the last epoch is kept.

    Args:
        network: the network in training.
        path: file of the model, replaced whole.
    """

    def __init__(self, network: ReconstructionNetwork, path: str | Path) -> None:
        self.network = network
        self.path = Path(path)
        self.epoch = 0
        self.error = math.inf
        self._tensors: dict[str, Tensor] = {}

    def attach(self, engine: Engine) -> None:
        """Register after the validation and before the checkpoint."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Compare the epoch that just ended."""
        error = engine.state.metrics.get(FIGURE)
        if error is None:
            if self.epoch and math.isfinite(self.error):  # between two validations
                return
            error = math.inf
        elif not error < self.error:
            return
        self.epoch, self.error = engine.state.epoch, error
        self._tensors = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        if math.isfinite(error) and is_first():
            save_model(self.path, self.network)

    def finish(self) -> None:
        """Put the kept tensors into the network and write them; the last step of a training."""
        self.network.load_state_dict(self._tensors)
        if is_first():
            save_model(self.path, self.network)
        if math.isfinite(self.error):
            logger.info("kept epoch %d: mean squared error of validation images %.6f", self.epoch, self.error)
        else:
            logger.info("kept the last epoch, %d: there are no validation images", self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, error and tensors."""
        return {"epoch": self.epoch, "error": self.error, "tensors": self._tensors}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave."""
        self.epoch, self.error = int(state_dict["epoch"]), float(state_dict["error"])
        self._tensors = dict(state_dict["tensors"])
