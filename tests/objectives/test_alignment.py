"""Eq. 12 by hand, and the batches that could break it: one class, one image, no distance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vitad_med.errors import ConfigError
from vitad_med.objectives.alignment import AlignmentLoss, Moment

TOKENS = 9
SCALE = math.log(TOKENS)


def statistics(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and second moment of training images, [2, TOKENS]."""
    generator = torch.Generator().manual_seed(seed)
    return (
        1 + torch.rand(2, TOKENS, generator=generator, dtype=torch.float64),
        0.1 * torch.rand(2, TOKENS, generator=generator, dtype=torch.float64),
    )


def entropies(count: int) -> torch.Tensor:
    return 2 * torch.rand(count, TOKENS, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def by_hand(entropy: torch.Tensor, labels: list[int], ddof: int) -> float:
    """Eq. 10-12, written out with numpy."""
    mean, moment = (part.numpy() for part in statistics())
    batch = entropy.detach().numpy()
    total = 0.0
    present = sorted(set(labels))
    for c in present:
        members = batch[[index for index, label in enumerate(labels) if label == c]]
        mu = members.sum(axis=0) / len(members)
        total += np.sqrt(((mean[c] - mu) ** 2).sum()) / SCALE
        if len(members) > ddof:
            second = ((members - mu) ** 2).sum(axis=0) / (len(members) - ddof)
            total += np.sqrt(((moment[c] - second) ** 2).sum()) / SCALE**2
    return total / len(present)


@pytest.mark.parametrize(("moment", "ddof"), [("unbiased", 1), ("literal", 0)])
@pytest.mark.parametrize(
    "labels",
    [[0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1], [0, 1]],
    ids=["both", "one image in a class", "no normal", "no anomaly", "a single image", "one image in each"],
)
def test_matches_the_equation_by_hand(moment: Moment, ddof: int, labels: list[int]) -> None:
    entropy = entropies(len(labels))
    loss = AlignmentLoss(*statistics(), moment)(entropy, torch.tensor(labels))
    assert loss.shape == ()
    assert float(loss) == pytest.approx(by_hand(entropy, labels, ddof), rel=1e-12)


def test_the_unbiased_moment_does_not_depend_on_the_size_of_the_batch() -> None:
    """Batches from the training distribution itself: only the literal moment calls small ones too narrow."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.full((2, TOKENS), 0.5, dtype=torch.float64)
    difference = {}
    for moment in ("unbiased", "literal"):
        criterion = AlignmentLoss(torch.zeros_like(spread), spread**2, moment)
        found = []
        for _ in range(4000):
            batch = 0.5 * torch.randn(3, TOKENS, generator=generator, dtype=torch.float64)
            found.append(batch.var(dim=0, correction=int(moment == "unbiased")))
            if len(found) == 1:
                mean_term = torch.linalg.vector_norm(batch.mean(dim=0)) / SCALE
                moment_term = torch.linalg.vector_norm(0.25 - found[0]) / SCALE**2
                torch.testing.assert_close(criterion(batch, torch.zeros(3, dtype=torch.long)), mean_term + moment_term)
        difference[moment] = float(torch.stack(found).mean()) / 0.25
    assert difference["unbiased"] == pytest.approx(1, abs=0.02)
    assert difference["literal"] == pytest.approx(2 / 3, abs=0.02)


@pytest.mark.parametrize("moment", ["unbiased", "literal"])
def test_gradients_are_right(moment: Moment) -> None:
    labels = torch.tensor([0, 1, 0, 1, 0])
    criterion = AlignmentLoss(*statistics(), moment)
    assert torch.autograd.gradcheck(lambda entropy: criterion(entropy, labels), (entropies(5).requires_grad_(),))


@pytest.mark.parametrize("moment", ["unbiased", "literal"])
@pytest.mark.parametrize("count", [1, 4])
def test_no_distance_gives_no_gradient_and_no_nan(moment: Moment, count: int) -> None:
    entropy = entropies(count).requires_grad_()
    mean = entropy.detach().mean(dim=0)
    second = torch.zeros(TOKENS) if count == 1 else entropy.detach().var(dim=0, correction=int(moment == "unbiased"))
    loss = AlignmentLoss(mean.repeat(2, 1), second.repeat(2, 1), moment)(entropy, torch.ones(count, dtype=torch.long))
    assert float(loss.detach()) == 0
    loss.backward()
    assert entropy.grad is not None
    assert torch.equal(entropy.grad, torch.zeros_like(entropy))


def test_each_class_meets_its_own_statistics() -> None:
    mean, second = statistics()
    normal, anomalous = (mean[c].expand(2, -1) for c in (0, 1))
    criterion = AlignmentLoss(mean, torch.zeros_like(second))
    right = criterion(torch.cat([normal, anomalous]), torch.tensor([0, 0, 1, 1]))
    swapped = criterion(torch.cat([normal, anomalous]), torch.tensor([1, 1, 0, 0]))
    assert float(right) == pytest.approx(0, abs=1e-12)
    distance = float(torch.linalg.vector_norm(mean[0] - mean[1])) / SCALE
    assert float(swapped) == pytest.approx(distance, rel=1e-12)


def test_statistics_travel_with_the_module_and_bad_ones_are_refused() -> None:
    criterion = AlignmentLoss(*statistics())
    assert {"mean", "second_moment"} == criterion.state_dict().keys()
    with pytest.raises(ConfigError, match=r"statistics are of 9 tokens, the images give 16: .*image_size"):
        criterion(torch.rand(2, 16), torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match="moment 'biased' is unknown: use 'unbiased' or 'literal'"):
        AlignmentLoss(*statistics(), "biased")  # type: ignore[arg-type]
