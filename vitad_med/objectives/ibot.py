"""Image BERT pre-training with an online tokenizer (Zhou et al., "iBOT", 2022)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vitad_med.objectives.dino import Centering, DINOLoss
from vitad_med.objectives.usage import prototype_usage


class IBOTLoss(nn.Module):
    """DINO's loss of the CLS tokens plus masked image modelling in the space of prototypes.

        L = L_CLS + L_MIM,    L_MIM = - 1 / |m| sum_i m_i P_t(u_i) log P_s(u^_i)    (their Eq. 2 and 3)

    The student sees a view whose patches m are hidden behind a mask token (u^), the teacher the same view whole (u).
    CLS and patch tokens share the head; each has a centre of its own.

    Args:
        prototypes: K.
        student_temperature, teacher_temperature, warmup_temperature, warmup_fraction, center_momentum, centering: see
            :class:`~vitad_med.objectives.dino.DINOLoss`, for both terms.
        patch_weight: of L_MIM; theirs is 1.
    """

    def __init__(
        self,
        prototypes: int,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        warmup_temperature: float = 0.04,
        warmup_fraction: float = 0.3,
        center_momentum: float = 0.9,
        centering: Centering = "mean",
        patch_weight: float = 1.0,
    ) -> None:
        super().__init__()
        options = (student_temperature, teacher_temperature, warmup_temperature, warmup_fraction, center_momentum)
        self.cls = DINOLoss(prototypes, *options, centering)
        self.patch = DINOLoss(prototypes, *options, centering)
        self.patch_weight = patch_weight

    def forward(
        self, student: Tensor, teacher: Tensor, progress: float, patches: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Sum of both terms.

        Args:
            student: logits of CLS tokens, [views, B, K], the teacher's views first.
            teacher: [global views, B, K], no gradient.
            progress: fraction of training done, 0..1.
            patches: student's and teacher's logits of the hidden patches in one order, [M, K] each. Every view hides as
                many, so the plain mean is the mean over views of the paper's mean over patches.

        Returns:
            the loss and what DINO's monitors say of CLS tokens; ``patch_loss`` and ``patch_usage_entropy`` of patches.
        """
        cls_loss, monitors = self.cls(student, teacher, progress)
        seen, whole = (logits.float() for logits in patches)
        target = self.patch.targets(whole.unsqueeze(0), self.patch.temperature(progress))[0]
        patch_loss = -(target * F.log_softmax(seen / self.patch.student_temperature, dim=-1)).sum(dim=-1).mean()
        if self.patch.centering == "mean":
            self.patch.update_center(whole.unsqueeze(0))
        monitors["patch_loss"] = float(patch_loss.detach())
        monitors["patch_usage_entropy"] = prototype_usage(target)["usage_entropy"]
        return cls_loss + self.patch_weight * patch_loss, monitors
