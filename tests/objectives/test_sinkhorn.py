"""Sinkhorn-Knopp against a float64 reference, and its marginals."""

from __future__ import annotations

import numpy as np
import torch

from vitad_med.objectives.sinkhorn import sinkhorn


def reference(logits: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    q = np.exp((logits - logits.max()) / epsilon)
    for _ in range(iterations):
        q /= q.sum(axis=0, keepdims=True)
        q /= q.sum(axis=1, keepdims=True)
    return q


def test_equals_a_float64_reference() -> None:
    logits = torch.randn(16, 20) * 0.2
    found = sinkhorn(logits, 0.05, 3)
    np.testing.assert_allclose(found.numpy(), reference(logits.double().numpy(), 0.05, 3), atol=2e-6)


def test_logits_of_16_bits_are_shared_out_in_32() -> None:
    logits = (torch.randn(16, 20) * 0.2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sinkhorn(logits, 0.02, 3)
    assert torch.equal(found, sinkhorn(logits.float(), 0.02, 3))


def test_the_usual_batch_shares_out_as_documented() -> None:
    """16 images, 20 prototypes, unit features: how far columns are from an even share after three iterations."""
    draws = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize
    far: dict[float, list[float]] = {0.05: [], 0.02: []}
    for _ in range(50):
        samples, prototypes = (unit(torch.randn(count, 256, generator=draws), dim=1) for count in (16, 20))
        for epsilon, deviations in far.items():
            share = sinkhorn(samples @ prototypes.T, epsilon, 3).sum(dim=0) / (16 / 20)
            deviations.append(float((share - 1).abs().max()))
    # docs/pretraining.md: the largest deviation of a batch, in the middle of 50 batches and in the worst.
    for epsilon, middle, worst in ((0.05, 0.01, 0.05), (0.02, 0.2, 0.5)):
        assert 0.3 * middle < float(np.median(far[epsilon])) < middle
        assert 0.3 * worst < max(far[epsilon]) < worst


def test_rows_are_distributions_and_columns_share_evenly() -> None:
    found = sinkhorn(torch.randn(64, 10) * 0.2, 0.05, 30)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(found.sum(dim=0), torch.full((10,), 6.4), rtol=1e-3, atol=0)


def test_small_epsilon_does_not_overflow() -> None:
    assert bool(torch.isfinite(sinkhorn(torch.randn(8, 6) * 50, 0.001, 5)).all())


def test_a_common_offset_of_all_samples_changes_nothing() -> None:
    logits = torch.randn(12, 9)
    torch.testing.assert_close(sinkhorn(logits + 5 * torch.randn(9), 1.0), sinkhorn(logits, 1.0))
