"""Eq. 1 of Masked Siamese Networks against loops, and what its second term is for."""

from __future__ import annotations

import math

import pytest
import torch

from vitad_med.errors import ConfigError
from vitad_med.objectives.msn import MSNLoss
from vitad_med.objectives.sinkhorn import sinkhorn

B, K, M = 5, 4, 3


def test_equals_the_papers_sum() -> None:
    student, teacher = torch.randn(M, B, K), torch.randn(1, B, K)
    loss, _ = MSNLoss(0.1, 0.025, 0.5, "none")(student, teacher, 0.0)
    total, mean = 0.0, torch.zeros(K, dtype=torch.float64)
    for view in student.double():
        for row, truth in zip(view, teacher[0].double(), strict=True):
            prediction = (row / 0.1).softmax(dim=0)
            total -= float(((truth / 0.025).softmax(dim=0) * prediction.log()).sum())
            mean += prediction / (M * B)
    assert float(loss) == pytest.approx(total / (M * B) + 0.5 * float((mean * mean.log()).sum()), rel=1e-5)


def test_using_every_prototype_costs_less_than_one_for_all() -> None:
    """Both predict their own targets perfectly: the mean entropy alone tells them apart."""
    one = 10 * torch.eye(K)[[0, 0, 0, 0]].unsqueeze(0)
    each = 10 * torch.eye(K).unsqueeze(0)
    objective = MSNLoss(centering="none")
    assert float(objective(each, each, 0.0)[0]) == pytest.approx(-math.log(K), abs=1e-3)
    assert float(objective(one, one, 0.0)[0]) == pytest.approx(0, abs=1e-3)
    assert objective(one, one, 0.0)[1]["usage_entropy"] == pytest.approx(0, abs=1e-3)


def test_targets_that_all_fall_on_one_prototype_are_shared_out() -> None:
    alike = torch.randn(1, 1, K).expand(1, 64, K) + 0.01 * torch.randn(1, 64, K)
    shared, printed = MSNLoss(), MSNLoss(centering="none")
    assert shared(alike, alike, 0.0)[1]["usage_entropy"] > 0.95
    assert printed(alike, alike, 0.0)[1]["usage_entropy"] < 0.5
    # Two views of the teacher are one batch to share out.
    teacher = torch.randn(2, 8, K)
    expected = sinkhorn(teacher.reshape(16, K), 0.025, 3).reshape(2, 8, K)
    torch.testing.assert_close(shared.targets(teacher), expected)
    torch.testing.assert_close(printed.targets(teacher), (teacher / 0.025).softmax(dim=-1))


def test_gradient_is_finite_where_a_prototype_is_never_predicted() -> None:
    student = (1000 * torch.eye(K)[[0, 0]]).unsqueeze(0).requires_grad_()
    MSNLoss()(student, student.detach(), 0.0)[0].backward()
    assert student.grad is not None
    assert bool(torch.isfinite(student.grad).all())


def test_bad_keys() -> None:
    with pytest.raises(ConfigError, match="target_temperature"):
        MSNLoss(0.1, 0.2)
    with pytest.raises(ConfigError, match="mean_entropy_weight"):
        MSNLoss(mean_entropy_weight=-1)
    with pytest.raises(ConfigError, match="centering 'mean' does not apply to objective 'msn'"):
        MSNLoss(centering="mean")  # type: ignore[arg-type]
