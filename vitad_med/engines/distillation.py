"""Self-distillation of a ViT on normal images: one loop for every objective that has a student and a teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
from monai.engines.trainer import Trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from vitad_med.augmentation.views import StepViews, ViewMaker
from vitad_med.engines.feature_monitors import feature_monitors
from vitad_med.engines.loading import to_unit_range
from vitad_med.engines.precision import Precision
from vitad_med.errors import ConfigError, VitadError
from vitad_med.networks.distillation import DistillationNetwork, DistillationOutput, update_teacher
from vitad_med.networks.vit import check_image_size, normalize, patch_size, saliency, use_fused_attention


class Objective(Protocol):
    """A loss over views and what to monitor of it."""

    def __call__(
        self, student: Tensor, teacher: Tensor, progress: float, **patches: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Logits [student's views, B, K] and [teacher's views, B, K], fraction of training done; loss, monitors.

        Where views hide patches, ``patches`` are the student's and the teacher's logits of these, [M, K] each.
        """
        ...


class DistillationTrainer(Trainer):
    """MONAI trainer whose student learns from views of the same images what its moving average, the teacher, says.

    Every random draw of a step follows from (seed, step, process), so a resumed run repeats an uninterrupted one.

    Args:
        device: where to train.
        max_epochs: passes over the training images.
        train_data_loader: batches ``{"image": [B, C, S, S]}`` of stored integers (:mod:`vitad_med.engines.loading`).
        student: network that is trained.
        teacher: its moving average.
        objective: see :class:`Objective`.
        optimizer: over the student's parameters.
        scheduler: stepped once an iteration.
        views: makes the views of a step, masks included.
        teacher_momentum: start of the cosine rise to 1.
        clip_norm: largest gradient norm.
        frozen_prototype_epochs: epochs in which the last layer rests (stabilises the start, Caron et al. 2021).
        shared_prototypes: one set of prototypes for both networks, put back to unit length after each step (AAAI 2023).
        amp: mixed precision where the device has it.
        distributed: one of several processes, which share a batch among them.
        train_handlers: MONAI handlers.

    Raises:
        ConfigError: batches of one image, or views that patches do not tile.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: DataLoader[dict[str, Tensor]],
        student: DistillationNetwork,
        teacher: DistillationNetwork,
        objective: Objective,
        optimizer: Optimizer,
        scheduler: LRScheduler,
        views: ViewMaker,
        teacher_momentum: float = 0.996,
        clip_norm: float = 3.0,
        frozen_prototype_epochs: int = 1,
        shared_prototypes: bool = False,
        amp: bool = True,
        distributed: bool = False,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        check_batch_size(train_data_loader.batch_size or 0)
        check_views(teacher, views)
        super().__init__(
            device=torch.device(device),
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            handlers=train_handlers,
            decollate=False,
        )
        self.network, self.teacher = student, teacher
        self.objective = objective
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.views = views
        self.teacher_momentum = teacher_momentum
        self.clip_norm = clip_norm
        self.frozen_prototype_epochs = frozen_prototype_epochs
        self.shared_prototypes = shared_prototypes
        self.precision = Precision.of(device, amp)
        on_gpu = torch.device(device).type != "cpu"
        for network in (student, teacher):
            use_fused_attention(network.encoder, on_gpu)
        self.grad_scaler = self.precision.scaler()
        self.rank = dist.get_rank() if distributed else 0
        self.student: nn.Module = student
        if distributed:
            # A step has a forward pass for each size of view: buffers sent between them would spoil their gradients.
            ids = [torch.device(device).index] if on_gpu else None
            self.student = DistributedDataParallel(student, device_ids=ids, broadcast_buffers=False)

    def attention(self, images: Tensor) -> Tensor:
        """The teacher's saliency of images [B, C, S, S] in 0..1: its mean CLS attention, [B, rows, columns]."""
        with self.precision.autocast():
            normalized = normalize(images, self.teacher.mean, self.teacher.std)
            return saliency(self.teacher.encoder, normalized).float()

    def outputs(self, views: StepViews) -> tuple[DistillationOutput, list[DistillationOutput]]:
        """What the teacher says of its views, and the student of each group of its own."""
        read = next((group.hidden for group in views.student if group.hidden is not None), None)
        with self.precision.autocast():
            with torch.no_grad():
                taught = self.teacher(views.teacher, read=read)
            seen = [self.student(g.images, kept=g.kept, hidden=g.hidden, read=g.hidden) for g in views.student]
        return taught, seen

    def _iteration(self, engine: DistillationTrainer, batchdata: dict[str, Tensor]) -> dict[str, Any]:
        """One optimisation step; ``monitors`` in the output feeds progress and tracking."""
        self.student.train()
        images = to_unit_range(batchdata["image"], engine.state.device, non_blocking=True)
        step, total = engine.state.iteration - 1, engine.state.epoch_length * engine.state.max_epochs
        progress = step / total
        batch = len(images)
        with torch.no_grad():
            views = self.views(images, step, self.rank, self.attention)
        taught, seen = self.outputs(views)
        count = taught.logits.shape[-1]
        student = torch.cat([output.logits for output in seen]).float().reshape(-1, batch, count)
        target = taught.logits.float().reshape(-1, batch, count)
        hidden = next((output.patches for output in seen if output.patches is not None), None)
        patches: dict[str, tuple[Tensor, Tensor]] = {}
        if hidden is not None and taught.patches is not None:
            patches["patches"] = (hidden, taught.patches)
        loss, monitors = self.objective(student, target, progress, **patches)
        monitors |= feature_monitors(taught.features[:batch], seen[0].features[self.views.unshared * batch :][:batch])
        _check_finite("loss", loss, engine.state.iteration)
        self.optimizer.zero_grad(set_to_none=True)
        self.grad_scaler.scale(loss).backward()
        self.grad_scaler.unscale_(self.optimizer)
        if engine.state.epoch <= self.frozen_prototype_epochs:
            for parameter in self.network.head.last.parameters():
                parameter.grad = None
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        # With fp16 the scaler finds its scale by steps that overflow and are skipped.
        if not self.grad_scaler.is_enabled():
            _check_finite("gradient's norm", norm, engine.state.iteration)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        self.scheduler.step()
        momentum = 1 - (1 - self.teacher_momentum) * 0.5 * (1 + math.cos(math.pi * progress))
        if self.shared_prototypes:
            self.network.head.normalize_prototypes()
        update_teacher(self.teacher, self.network, momentum, self.shared_prototypes)
        return {"monitors": {"loss": float(loss.detach()), "gradient_norm": float(norm), **monitors}}


def _check_finite(what: str, value: Tensor, step: int) -> None:
    if not torch.isfinite(value):
        raise VitadError(f"the {what} is {value.item()} at step {step}: lower learning_rate, or set amp to False")


def check_batch_size(batch_size: int) -> None:
    """Raise ConfigError unless a batch has images to compare."""
    if batch_size < 2:
        raise ConfigError(
            f"a batch of {batch_size} has nothing to share out among prototypes: set batch_size to at least 2, and "
            "give at least 2 training images"
        )


def check_views(network: DistillationNetwork, views: ViewMaker) -> None:
    """Raise ConfigError, naming the key, unless patches tile the views and masking counts the same patches."""
    sizes = {"multicrop#global_size": views.multicrop.global_size}
    if views.multicrop.local_views:
        sizes["multicrop#local_size"] = views.multicrop.local_size
    for key, size in sizes.items():
        check_image_size(network.encoder, size, key)
    if views.patch != patch_size(network.encoder):
        raise ConfigError(f"views have patches of {views.patch} px, the encoder of {patch_size(network.encoder)}")
