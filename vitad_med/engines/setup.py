"""Small factories that bundle configs call, so that their JSON wires objects and holds no logic."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from monai.utils.enums import CommonKeys
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from vitad_med.checkpoint import save_safetensors
from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.registry import read_cases
from vitad_med.data.splits import split_digest
from vitad_med.digests import state_digest
from vitad_med.engines.distributed import finish_processes, process_device, save_model_once, start_processes
from vitad_med.engines.inference import prepare_images
from vitad_med.engines.loading import ImageArray
from vitad_med.engines.optimization import warmup_cosine
from vitad_med.engines.proxy_task import Scorer
from vitad_med.engines.synthetic_validation import SyntheticSet
from vitad_med.errors import ConfigError
from vitad_med.networks.distillation import DistillationNetwork
from vitad_med.networks.state import load_model, model_digest, save_model, with_weights
from vitad_med.reproducibility import seed_everything
from vitad_med.synthesis import SyntheticScheme

__all__ = [
    "bundle_name",
    "cases",
    "choose_device",
    "finish_processes",
    "model_digest",
    "pipeline_settings",
    "prepare",
    "prepare_distributed",
    "prepare_images",
    "process_device",
    "save_encoder",
    "save_model",
    "save_model_once",
    "schedule",
    "score_and_label",
    "split_digest",
    "start_from",
    "synthetic_set",
    "training_cases",
    "training_set",
    "validation_cases",
    "with_weights",
]

_Network = TypeVar("_Network", bound=nn.Module)

logger = logging.getLogger(__name__)


def prepare(seed: int) -> None:
    """Seed every generator; the first thing a training config does."""
    seed_everything(seed)


def prepare_distributed(seed: int, device: str) -> None:
    """As :func:`prepare`, in each of the processes that ``torchrun`` started."""
    start_processes(device)
    prepare(seed)


def choose_device(device: str) -> torch.device:
    """``auto`` is the first GPU where there is one, else the CPU; any other name is taken as torch's."""
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def schedule(
    optimizer: Optimizer,
    loader: DataLoader[dict[str, Tensor]],
    epochs: int,
    warmup_epochs: float,
    warmup_start: float | None = None,
) -> LRScheduler:
    """Warm-up and cosine over ``epochs`` passes of ``loader``; warm-up takes at most a tenth of a short training.

    Args:
        optimizer: its rates are those that warm-up rises to.
        loader: of the training images.
        epochs: of the training.
        warmup_epochs: may be a fraction.
        warmup_start: learning rate at which warm-up begins, in other groups of parameters the same fraction of their
            rate; None begins at the rate over the number of warm-up steps.

    Raises:
        ConfigError: warm-up would begin above the rate it rises to.
    """
    start_fraction = None if warmup_start is None else warmup_start / float(optimizer.defaults["lr"])
    if start_fraction is not None and start_fraction > 1:
        raise ConfigError("warmup_start is above learning_rate: warm-up rises from the one to the other")
    steps = len(loader) * epochs
    warmup = min(round(warmup_epochs * len(loader)), max(1, steps // 10))
    return warmup_cosine(optimizer, warmup, steps, start_fraction=start_fraction)


def cases(
    data: str, dataset_dir: str, section: str, val_fraction: float, split_seed: int, options: Mapping[str, Any]
) -> list[Case]:
    """Records of one section; ``train`` and ``val`` need the ``val_fraction`` and ``split_seed`` of the training."""
    # Other sections hold nobody out, however few patients there are to train on.
    held_out = val_fraction if section in ("train", "val") else 0.0
    return read_cases(data, dataset_dir, section, val_fraction=held_out, split_seed=split_seed, **options)


def training_cases(
    data: str, dataset_dir: str, val_fraction: float, split_seed: int, options: Mapping[str, Any]
) -> list[Case]:
    """Normal images to train on; patients held out for validation are left out."""
    return cases(data, dataset_dir, "train", val_fraction, split_seed, options)


def validation_cases(
    data: str, dataset_dir: str, val_fraction: float, split_seed: int, options: Mapping[str, Any]
) -> list[Case]:
    """Normal images of the held-out patients; none when ``val_fraction`` is 0."""
    return cases(data, dataset_dir, "val", val_fraction, split_seed, options) if val_fraction > 0 else []


def pipeline_settings(base: Mapping[str, Any], shift: str) -> dict[str, Any]:
    """Settings that change scores, for the journal of a run: ``base``, and ``shift`` where images are shifted.

    Without a shift nothing is added: calibrations are bound to the digest of the settings, which stays as it was before
    there were shifts.
    """
    return dict(base) if shift == "none" else {**base, "shift": shift}


def bundle_name(bundle_root: str | Path) -> str:
    """Name of the bundle's folder."""
    return Path(bundle_root).resolve().name


def score_and_label(output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Output transform for ignite metrics over image scores."""
    return output[CommonKeys.PRED].score, output[CommonKeys.LABEL]


def training_set(records: Sequence[Case], size: int, channels: int, cache_dir: str | Path | None = None) -> ImageArray:
    """The resized training images."""
    images = resized_array(records, size, cache_dir, channels)
    return ImageArray(images, [str(case.image_path) for case in records])


def synthetic_set(
    records: Sequence[Case],
    scorer: Scorer,
    synthesis: SyntheticScheme,
    image_size: int,
    seed: int,
    channels: int,
    limit: int | None = None,
) -> SyntheticSet | None:
    """Fixed synthetic anomalies of at most ``limit`` validation images, or None without such images."""
    return SyntheticSet(records, scorer, synthesis, image_size, seed, channels, limit) if records else None


def start_from(network: _Network, initial_model: str | Path | None) -> _Network:
    """The network as it is, or with the tensors of the ``model.pt`` that an earlier training wrote."""
    if initial_model is not None:
        load_model(initial_model, network)
    return network


def save_encoder(
    path: str | Path, network: DistillationNetwork, provenance: Mapping[str, Any], keep_head: bool = False
) -> None:
    """Write an encoder as fp16 safetensors, with its input statistics and provenance as metadata.

    With ``keep_head`` the head's layers but the last lie beside it, as ``head.trunk.*``. Reading the file as an
    encoder's weights leaves them out.
    """
    state = {name: value.detach().cpu().half() for name, value in network.encoder.state_dict().items()}
    if keep_head:
        trunk = network.head.trunk.state_dict(prefix="head.trunk.").items()
        state |= {name: value.detach().cpu().half() for name, value in trunk}
    metadata = {
        "mean": str([round(float(x), 6) for x in network.mean.flatten()]),
        "std": str([round(float(x), 6) for x in network.std.flatten()]),
        "digest": state_digest(state),
        **{key: str(value) for key, value in provenance.items()},
    }
    save_safetensors(Path(path), state, metadata)
    logger.info("encoder written: %s", Path(path).name)
