"""Consistency of cluster assignments between masked views and the whole view (Eq. 1, AAAI 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitad_med.errors import ConfigError
from vitad_med.objectives.sinkhorn import sinkhorn
from vitad_med.objectives.usage import prototype_usage


class APMaskLoss(nn.Module):
    """Cross-entropy of each masked student view against pseudo-labels of the teacher's whole view.

        L = 1 / (B V) sum_b sum_j H(y_b, p_bj),    p_bj = softmax(z_bj C / tau)

    with V student views; the pseudo-labels y share the batch out evenly among the K prototypes C by Sinkhorn-Knopp,
    which keeps all images from falling on one of them.

    Args:
        prototypes: K.
        temperature: tau; the paper's .1.
        epsilon: entropy regularisation of Sinkhorn-Knopp (ours: the paper names none).
        iterations: of Sinkhorn-Knopp (ours).
        queue: number of earlier teacher outputs that take part in Sinkhorn-Knopp (SwAV, Caron et al. 2020); 0, the
            paper's, uses the batch alone. Part of the state, so that a resumed run repeats a whole one.
    """

    queued: Tensor
    filled: Tensor

    def __init__(
        self, prototypes: int, temperature: float = 0.1, epsilon: float = 0.05, iterations: int = 3, queue: int = 0
    ) -> None:
        super().__init__()
        for key, value in (("temperature", temperature), ("epsilon", epsilon)):
            if value <= 0:
                raise ConfigError(f"{key} {value} must be above 0")
        if iterations < 1 or queue < 0:
            raise ConfigError(f"sinkhorn_iterations {iterations} must be at least 1 and queue {queue} at least 0")
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations
        self.register_buffer("queued", torch.zeros(queue, prototypes))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def forward(self, student: Tensor, teacher: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Loss over all student views.

        Args:
            student: logits z C of masked views, [V, B, K].
            teacher: logits of the whole views, [T, B, K] (the paper: T = 1), no gradient.
            progress: fraction of training done; not used.

        Returns:
            the loss, :func:`~vitad_med.objectives.usage.prototype_usage`, and ``agreement``, how much of what targets
            say predictions say too: 1 where they are equal, 0 where predictions are uniform, below 0 where they
            contradict. The loss cannot show that: its least value is the entropy of the targets.
        """
        target = self.targets(teacher.float())
        log_prediction = F.log_softmax(student.float() / self.temperature, dim=-1)
        loss = -torch.einsum("tbk,sbk->tsb", target, log_prediction).mean()
        monitors = prototype_usage(target)
        highest = math.log(target.shape[-1])
        entropy = monitors["target_entropy"] * highest
        monitors["agreement"] = (highest - float(loss.detach())) / max(highest - entropy, 1e-3)
        return loss, monitors

    @torch.no_grad()
    def targets(self, teacher: Tensor) -> Tensor:
        """Pseudo-labels y of teacher logits [T, B, K]; then the logits join the queue."""
        views, batch, count = teacher.shape
        earlier = self.queued[: int(self.filled)]
        together = torch.cat([teacher.reshape(-1, count), earlier])
        target = sinkhorn(together, self.epsilon, self.iterations)[: views * batch]
        size = len(self.queued)
        if size:
            kept = together[:size]  # newest first
            self.queued[: len(kept)] = kept
            self.filled.fill_(len(kept))
        return target.reshape(views, batch, count)
