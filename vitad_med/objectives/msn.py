"""Masked Siamese Networks (Assran et al., "Masked Siamese Networks for Label-Efficient Learning", 2022)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from vitad_med.errors import ConfigError
from vitad_med.objectives.sinkhorn import sinkhorn
from vitad_med.objectives.usage import prototype_usage


class MSNLoss(nn.Module):
    """Cross-entropy of masked views against sharpened targets, less the entropy of the mean prediction (their Eq. 1).

        L = 1 / (M B) sum_b sum_m H(p+_b, p_bm) - lambda H(p_mean),    p_mean = 1 / (M B) sum_b sum_m p_bm

    The second term asks that all prototypes be used on average. On images as alike as radiographs it does not keep all
    targets from one prototype: the authors' published settings share them out by Sinkhorn-Knopp as well, and so does
    the default.

    Args:
        temperature: tau of the M student views (their anchors).
        target_temperature: tau+ < tau, which sharpens targets; the epsilon of Sinkhorn-Knopp.
        mean_entropy_weight: lambda.
        centering: ``sinkhorn``, or ``none``: the equations as printed.
        iterations: of Sinkhorn-Knopp.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        target_temperature: float = 0.025,
        mean_entropy_weight: float = 1.0,
        centering: Literal["sinkhorn", "none"] = "sinkhorn",
        iterations: int = 3,
    ) -> None:
        super().__init__()
        if not 0 < target_temperature <= temperature:
            raise ConfigError(f"target_temperature {target_temperature} must lie in 0..temperature ({temperature})")
        if mean_entropy_weight < 0:
            raise ConfigError(f"mean_entropy_weight {mean_entropy_weight} must not be negative")
        if centering not in ("sinkhorn", "none"):
            raise ConfigError(f"centering '{centering}' does not apply to objective 'msn': use 'sinkhorn' or 'none'")
        self.centering = centering
        self.iterations = iterations
        self.temperature = temperature
        self.target_temperature = target_temperature
        self.mean_entropy_weight = mean_entropy_weight

    def forward(self, student: Tensor, teacher: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Loss over all student views.

        Args:
            student: logits of masked views, [M, B, K].
            teacher: logits of whole views, [T, B, K], no gradient.
            progress: fraction of training done; not used.

        Returns:
            the loss and :func:`~vitad_med.objectives.usage.prototype_usage`.
        """
        target = self.targets(teacher.float())
        log_prediction = F.log_softmax(student.float() / self.temperature, dim=-1)
        cross_entropy = -torch.einsum("tbk,sbk->tsb", target, log_prediction).mean()
        mean_prediction = _mean_of_processes(log_prediction.exp().mean(dim=(0, 1)))
        # entr has an infinite gradient at 0; a softmax over a mean of many views never gets there, but may underflow.
        entropy = -(mean_prediction * mean_prediction.clamp(min=1e-12).log()).sum()
        return cross_entropy - self.mean_entropy_weight * entropy, prototype_usage(target)

    @torch.no_grad()
    def targets(self, teacher: Tensor) -> Tensor:
        """Targets of teacher logits [T, B, K]."""
        if self.centering == "none":
            return F.softmax(teacher / self.target_temperature, dim=-1)
        together = sinkhorn(teacher.flatten(0, 1), self.target_temperature, self.iterations)
        return together.reshape(teacher.shape)


def _mean_of_processes(values: Tensor) -> Tensor:
    """Mean over processes that carries the gradient of each."""
    if not (dist.is_available() and dist.is_initialized()):
        return values
    from torch.distributed.nn.functional import all_reduce  # absent in a torch that was built without processes

    return all_reduce(values) / dist.get_world_size()
