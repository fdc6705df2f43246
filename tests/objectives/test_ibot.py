"""iBOT is DINO's loss of the CLS tokens plus the cross-entropy of the hidden patches, by hand."""

from __future__ import annotations

import pytest
import torch

from vitad_med.objectives.dino import DINOLoss
from vitad_med.objectives.ibot import IBOTLoss
from vitad_med.objectives.sinkhorn import sinkhorn

B, K, M = 4, 5, 12


def logits() -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    return torch.randn(3, B, K), torch.randn(2, B, K), (torch.randn(M, K), torch.randn(M, K))


@pytest.mark.parametrize("centering", ["mean", "sinkhorn"])
def test_both_terms(centering: str) -> None:
    student, teacher, (seen, whole) = logits()
    options = {"teacher_temperature": 0.05, "warmup_temperature": 0.05, "centering": centering}
    expected = float(DINOLoss(K, **options)(student, teacher, 0.5)[0])
    loss, monitors = IBOTLoss(K, patch_weight=2.0, **options)(student, teacher, 0.5, (seen, whole))
    target = sinkhorn(whole, 0.05) if centering == "sinkhorn" else (whole / 0.05).softmax(dim=-1)
    patch = sum(-float((t * (s / 0.1).log_softmax(dim=-1)).sum()) for s, t in zip(seen, target, strict=True)) / M
    assert float(loss) == pytest.approx(expected + 2 * patch, rel=1e-5)
    assert monitors["patch_loss"] == pytest.approx(patch, rel=1e-5)
    assert 0 <= monitors["patch_usage_entropy"] <= 1


def test_patches_have_a_centre_of_their_own() -> None:
    objective = IBOTLoss(K)
    student, teacher, patches = logits()
    objective(student, teacher, 0.0, patches)
    torch.testing.assert_close(objective.cls.center, 0.1 * teacher.mean(dim=(0, 1))[None])
    torch.testing.assert_close(objective.patch.center, 0.1 * patches[1].mean(dim=0)[None])


def test_hidden_patches_carry_gradient_to_the_student() -> None:
    student, teacher, (seen, whole) = logits()
    seen.requires_grad_()
    whole.requires_grad_()
    IBOTLoss(K)(student, teacher, 0.0, (seen, whole.detach()))[0].backward()
    assert seen.grad is not None
    assert float(seen.grad.abs().sum()) > 0
