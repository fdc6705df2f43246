"""Eq. 1 of AAAI 2023 against loops in float64, the queue, and what the monitors say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vitad_med.errors import ConfigError
from vitad_med.objectives.apmask import APMaskLoss
from vitad_med.objectives.sinkhorn import sinkhorn
from vitad_med.objectives.usage import prototype_usage

B, K, V = 6, 4, 3


def by_hand(student: np.ndarray, target: np.ndarray, temperature: float) -> float:
    total = 0.0
    for view in student:
        for row, truth in zip(view, target, strict=True):
            exponent = np.exp(row / temperature - (row / temperature).max())
            total -= float((truth * np.log(exponent / exponent.sum())).sum())
    return total / (len(student) * len(target))


def sinkhorn_by_hand(logits: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    q = np.exp((logits - logits.max()) / epsilon)
    for _ in range(iterations):
        q /= q.sum(axis=0, keepdims=True)
        q /= q.sum(axis=1, keepdims=True)
    return q


def test_equals_the_papers_sum() -> None:
    student = torch.randn(V, B, K).clamp(-1, 1)
    teacher = torch.randn(1, B, K).clamp(-1, 1)
    loss, monitors = APMaskLoss(K, temperature=0.1, epsilon=0.05)(student, teacher, 0.3)
    target = sinkhorn_by_hand(teacher[0].double().numpy(), 0.05, 3)
    assert float(loss) == pytest.approx(by_hand(student.double().numpy(), target, 0.1), rel=1e-5)
    entropy = -(target * np.log(target)).sum(axis=1).mean() / math.log(K)
    assert monitors["target_entropy"] == pytest.approx(entropy, rel=1e-4)


def test_gradient_flows_to_the_student_alone() -> None:
    student = torch.randn(V, B, K, requires_grad=True)
    teacher = torch.randn(1, B, K, requires_grad=True)
    APMaskLoss(K)(student, teacher, 0.0)[0].backward()
    assert student.grad is not None
    assert float(student.grad.abs().sum()) > 0
    assert teacher.grad is None


def test_the_queue_takes_part_and_keeps_the_newest() -> None:
    objective = APMaskLoss(K, queue=B + 2)
    batches = [torch.randn(1, B, K) * 0.2 for _ in range(3)]
    assert torch.equal(objective.targets(batches[0])[0], sinkhorn(batches[0][0]))
    torch.testing.assert_close(
        objective.targets(batches[1])[0], sinkhorn(torch.cat([batches[1][0], batches[0][0]]))[:B]
    )
    earlier = torch.cat([batches[1][0], batches[0][0][:2]])
    torch.testing.assert_close(objective.targets(batches[2])[0], sinkhorn(torch.cat([batches[2][0], earlier]))[:B])
    assert torch.equal(objective.queued, torch.cat([batches[2][0], batches[1][0][:2]]))


def test_the_queue_is_part_of_the_state() -> None:
    objective, other = APMaskLoss(K, queue=5), APMaskLoss(K, queue=5)
    objective.targets(torch.randn(1, 3, K))
    other.load_state_dict(objective.state_dict())
    teacher = torch.randn(1, B, K)
    assert torch.equal(objective.targets(teacher), other.targets(teacher))
    assert not torch.equal(objective.targets(teacher), APMaskLoss(K).targets(teacher))


def test_fewer_samples_than_prototypes_are_shared_evenly() -> None:
    """B = 16 and K = 20, the paper's, on a bottleneck of 256: rows of 1, columns of .8 within 3 %."""
    features, prototypes = (torch.nn.functional.normalize(torch.randn(n, 256), dim=-1) for n in (16, 20))
    target = APMaskLoss(20).targets((features @ prototypes.T).unsqueeze(0))[0]
    torch.testing.assert_close(target.sum(dim=1), torch.ones(16))
    torch.testing.assert_close(target.sum(dim=0), torch.full((20,), 0.8), rtol=0.03, atol=0)


def test_agreement_is_one_for_equal_predictions_and_zero_for_uniform_ones() -> None:
    objective = APMaskLoss(K, temperature=0.1)
    teacher = torch.randn(1, B, K)
    target = APMaskLoss(K).targets(teacher)
    assert objective(0.1 * target.clamp(min=1e-30).log(), teacher, 0.0)[1]["agreement"] == pytest.approx(1, abs=1e-3)
    assert objective(torch.zeros(1, B, K), teacher, 0.0)[1]["agreement"] == pytest.approx(0, abs=1e-4)
    assert objective(-target, teacher, 0.0)[1]["agreement"] < 0


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (torch.full((8, 4), 0.25), (1.0, 1.0, 1.0)),
        (torch.eye(4), (0.0, 1.0, 4.0)),
        (torch.eye(4)[[0, 0, 0]], (0.0, 0.0, 1.0)),
        (torch.eye(4)[torch.tensor([[0, 1], [1, 0]])], (0.0, 0.5, 2.0)),
    ],
    ids=["uniform", "each its own", "one for all", "two of four"],
)
def test_usage_tells_kinds_of_collapse_apart(target: torch.Tensor, expected: tuple[float, ...]) -> None:
    found = prototype_usage(target)
    assert (found["target_entropy"], found["usage_entropy"], found["prototypes_used"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"temperature": 0}, "temperature"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"iterations": 0}, "sinkhorn_iterations"),
        ({"queue": -1}, "queue"),
    ],
)
def test_bad_keys(options: dict[str, float], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        APMaskLoss(K, **options)  # type: ignore[arg-type]
