"""Self-distillation of a ViT on normal images: one loop for every objective that has a student and a teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from monai.engines.trainer import Trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.multicrop import MultiCrop, crop
from vitad_med.engines.loading import to_unit_range
from vitad_med.engines.precision import Precision
from vitad_med.errors import VitadError
from vitad_med.networks.distillation import DistillationNetwork, update_teacher
from vitad_med.networks.vit import use_fused_attention
from vitad_med.reproducibility import generator

Objective = Callable[[Tensor, Tensor, float], tuple[Tensor, dict[str, float]]]


class DistillationTrainer(Trainer):
    """MONAI trainer whose teacher sees global views and whose student sees all views of the same images.

    Every random draw of a step follows from (seed, step, process), so a resumed run repeats an uninterrupted one.

    Args:
        device: where to train.
        max_epochs: passes over the training images.
        train_data_loader: batches ``{"image": [B, C, S, S]}`` of stored integers (:mod:`vitad_med.engines.loading`).
        student: network that is trained, possibly wrapped for several GPUs.
        teacher: its moving average.
        objective: ``(student [views, B, K], teacher [global, B, K], progress) -> (loss, monitors)``.
        optimizer: over the student's parameters.
        scheduler: stepped once an iteration.
        multicrop: sizes, scales and numbers of views.
        augment: intensity augmentation, drawn anew for each view.
        seed: of all draws.
        teacher_momentum: start of the cosine rise to 1.
        clip_norm: largest gradient norm.
        frozen_prototype_epochs: epochs in which the last layer rests (stabilises the start, Caron et al. 2021).
        amp: mixed precision where the device has it.
        train_handlers: MONAI handlers.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: DataLoader[dict[str, Tensor]],
        student: DistillationNetwork | DistributedDataParallel,
        teacher: DistillationNetwork,
        objective: Objective,
        optimizer: Optimizer,
        scheduler: LRScheduler,
        multicrop: MultiCrop,
        augment: Augment,
        seed: int = 0,
        teacher_momentum: float = 0.996,
        clip_norm: float = 3.0,
        frozen_prototype_epochs: int = 1,
        amp: bool = True,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            device=torch.device(device),
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            handlers=train_handlers,
            decollate=False,
        )
        self.student = student
        self.teacher = teacher
        self.objective = objective
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.multicrop = multicrop
        self.augment = augment
        self.seed = seed
        self.teacher_momentum = teacher_momentum
        self.clip_norm = clip_norm
        self.frozen_prototype_epochs = frozen_prototype_epochs
        self.precision = Precision.of(device, amp)
        module = student.module if isinstance(student, DistributedDataParallel) else student
        for network in (module, teacher):
            use_fused_attention(network.encoder, torch.device(device).type != "cpu")
        self.grad_scaler = self.precision.scaler()
        self.rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0

    def views(self, images: Tensor, step: int) -> tuple[list[Tensor], list[Tensor]]:
        """Global and local views of images [B, C, S, S] in 0..1, each cropped and augmented on its own."""
        draws = generator(self.seed, step, self.rank)
        large, small = self.multicrop.rectangles(len(images), draws)
        cropped = [crop(images, rectangles, self.multicrop.global_size) for rectangles in large]
        local = [crop(images, rectangles, self.multicrop.local_size) for rectangles in small]
        return [self.augment(view, draws) for view in cropped], [self.augment(view, draws) for view in local]

    def _iteration(self, engine: DistillationTrainer, batchdata: dict[str, Tensor]) -> dict[str, Any]:
        """One optimisation step; ``monitors`` in the output feeds progress and tracking."""
        self.student.train()
        images = to_unit_range(batchdata["image"], engine.state.device, non_blocking=True)
        step, total = engine.state.iteration - 1, engine.state.epoch_length * engine.state.max_epochs
        progress = step / total
        large, small = self.views(images, step)
        batch = len(images)
        with self.precision.autocast():
            with torch.no_grad():
                target = self.teacher(torch.cat(large))
            seen = [self.student(torch.cat(large))]
            if small:
                seen.append(self.student(torch.cat(small)))
        student = torch.cat(seen).float().reshape(-1, batch, target.shape[-1])
        loss, monitors = self.objective(student, target.float().reshape(-1, batch, target.shape[-1]), progress)
        if not torch.isfinite(loss):
            raise VitadError(f"the loss is {loss.item()} at step {step}: lower learning_rate, or set amp to False")
        self.optimizer.zero_grad(set_to_none=True)
        self.grad_scaler.scale(loss).backward()
        self.grad_scaler.unscale_(self.optimizer)
        network = self.student.module if isinstance(self.student, DistributedDataParallel) else self.student
        if engine.state.epoch <= self.frozen_prototype_epochs:
            for parameter in network.head.last.parameters():
                parameter.grad = None
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.clip_norm)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        self.scheduler.step()
        momentum = 1 - (1 - self.teacher_momentum) * 0.5 * (1 + math.cos(math.pi * progress))
        update_teacher(self.teacher, network, momentum)
        return {"monitors": {"loss": float(loss.detach()), "gradient_norm": float(norm), **monitors}}
