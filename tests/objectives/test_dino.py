"""The DINO loss against a loop, its centre, and what its monitors say of collapse."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from vitad_med.objectives.dino import DINOLoss


def test_equals_the_sum_over_pairs_of_different_views() -> None:
    loss = DINOLoss(7, warmup_fraction=0.0)
    loss.center.copy_(torch.randn(1, 7))
    student, teacher = torch.randn(5, 4, 7), torch.randn(2, 4, 7)
    center = loss.center.clone()
    terms = []
    for t in range(2):
        target = F.softmax((teacher[t] - center) / 0.07, dim=1)
        for s in range(5):
            if s != t:
                terms.append(-(target * F.log_softmax(student[s] / 0.1, dim=1)).sum(dim=1).mean())
    found, _ = loss(student, teacher, 0.5)
    torch.testing.assert_close(found, torch.stack(terms).mean())


def test_center_is_the_moving_mean_of_teacher_outputs() -> None:
    loss = DINOLoss(3, center_momentum=0.75)
    teacher = torch.randn(2, 6, 3)
    loss(torch.randn(2, 6, 3), teacher, 0.0)
    torch.testing.assert_close(loss.center, 0.25 * teacher.mean(dim=(0, 1)).unsqueeze(0))


def test_temperature_rises_linearly() -> None:
    loss = DINOLoss(3, teacher_temperature=0.07, warmup_temperature=0.04, warmup_fraction=0.3)
    assert loss.temperature(0.0) == pytest.approx(0.04)
    assert loss.temperature(0.15) == pytest.approx(0.055)
    assert loss.temperature(0.9) == pytest.approx(0.07)


def test_monitors_tell_the_two_kinds_of_collapse_from_health() -> None:
    student = torch.zeros(2, 8, 8)
    _, uniform = DINOLoss(8)(student, torch.zeros(2, 8, 8), 1.0)
    assert uniform["target_entropy"] == pytest.approx(1.0)
    one_prototype = torch.zeros(2, 8, 8)
    one_prototype[..., 0] = 10
    _, single = DINOLoss(8)(student, one_prototype, 1.0)
    assert single["usage_entropy"] < 0.01
    _, healthy = DINOLoss(8)(student, 10 * torch.eye(8).expand(2, 8, 8), 1.0)
    assert healthy["target_entropy"] < 0.01
    assert healthy["usage_entropy"] == pytest.approx(1.0)


def test_the_teacher_takes_no_gradient_and_the_student_does() -> None:
    student = torch.randn(3, 2, 5, requires_grad=True)
    value, _ = DINOLoss(5)(student, torch.randn(2, 2, 5), 0.2)
    value.backward()
    assert float(student.grad.abs().sum()) > 0
    assert float(value) < 10 * math.log(5)
