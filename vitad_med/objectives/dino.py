"""Self-distillation with no labels (Caron et al., "Emerging Properties in Self-Supervised ViTs", 2021)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from vitad_med.errors import ConfigError
from vitad_med.objectives.sinkhorn import sinkhorn
from vitad_med.objectives.usage import prototype_usage

Centering = Literal["mean", "sinkhorn"]


class DINOLoss(nn.Module):
    """Cross-entropy between centred, sharpened teacher outputs and student outputs of other views (Eq. 2 and 4).

    Args:
        prototypes: number of output dimensions K.
        student_temperature: tau_s.
        teacher_temperature: tau_t after warm-up; it rises linearly from ``warmup_temperature``.
        warmup_temperature: tau_t at the start.
        warmup_fraction: fraction of training over which it rises.
        center_momentum: m of the exponential moving average of the teacher's mean output (Eq. 4).
        centering: ``mean`` subtracts that average, as DINO does; ``sinkhorn`` shares the batch out evenly among
            prototypes instead (Oquab et al., DINOv2, 2023), which near-identical images need.
    """

    center: Tensor

    def __init__(
        self,
        prototypes: int,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        warmup_temperature: float = 0.04,
        warmup_fraction: float = 0.3,
        center_momentum: float = 0.9,
        centering: Centering = "mean",
    ) -> None:
        super().__init__()
        if centering not in ("mean", "sinkhorn"):
            raise ConfigError(f"centering '{centering}' is unknown: use 'mean' or 'sinkhorn'")
        self.centering = centering
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.warmup_temperature = warmup_temperature
        self.warmup_fraction = warmup_fraction
        self.center_momentum = center_momentum
        self.register_buffer("center", torch.zeros(1, prototypes))

    def temperature(self, progress: float) -> float:
        """tau_t at ``progress`` in 0..1 of training."""
        rise = min(1.0, progress / self.warmup_fraction) if self.warmup_fraction > 0 else 1.0
        return self.warmup_temperature + rise * (self.teacher_temperature - self.warmup_temperature)

    def forward(self, student: Tensor, teacher: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Loss over all pairs of different views.

        Args:
            student: [views, B, K], the teacher's views first.
            teacher: [global views, B, K], no gradient.
            progress: fraction of training done, 0..1.

        Returns:
            the loss, and what collapse shows in (:func:`~vitad_med.objectives.usage.prototype_usage`).
        """
        target = self.targets(teacher.float(), self.temperature(progress))
        log_prediction = F.log_softmax(student.float() / self.student_temperature, dim=-1)
        cross_entropy = -torch.einsum("tbk,sbk->tsb", target, log_prediction).mean(dim=2)
        different = ~torch.eye(len(teacher), len(student), dtype=torch.bool, device=student.device)
        loss = cross_entropy[different].mean()
        if self.centering == "mean":
            self.update_center(teacher)
        return loss, prototype_usage(target)

    def targets(self, teacher: Tensor, temperature: float) -> Tensor:
        """Target distributions over prototypes, [views, B, K]."""
        if self.centering == "mean":
            return F.softmax((teacher - self.center) / temperature, dim=-1)
        return torch.stack([sinkhorn(view, temperature) for view in teacher])

    @torch.no_grad()
    def update_center(self, teacher: Tensor) -> None:
        """Eq. 4 over teacher outputs [views, B, K] of all processes."""
        mean = teacher.float().mean(dim=(0, 1)).unsqueeze(0)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(mean)
            mean /= dist.get_world_size()
        self.center.mul_(self.center_momentum).add_(mean, alpha=1 - self.center_momentum)
