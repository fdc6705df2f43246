"""The guard: what it lets pass, what it stops, and what it refuses to work with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.adaptation.studies import guard_of, held_scores, pixel
from vitad_med.adaptation.guard import Guard, disjoint
from vitad_med.errors import ConfigError, DataError
from vitad_med.metrics.image import image_auroc


@pytest.fixture(scope="module")
def guard() -> Guard:
    held = guard_of(*held_scores(0, 46, 91, 0.915))
    held.calibrate(pixel)
    return held


def test_figures_are_those_of_the_images(guard: Guard) -> None:
    normal, synthetic, _ = held_scores(0, 46, 91, 0.915)
    scores, labels = np.concatenate([normal, synthetic]), np.repeat([0, 1], 91)
    found = guard.range
    assert found is not None
    assert found.auroc == pytest.approx(image_auroc(scores, labels), abs=1e-9)
    assert found.mean_score == pytest.approx(normal.mean(), abs=1e-6)
    assert found.auroc_low < found.auroc
    assert found.mean_low < found.mean_score < found.mean_high
    assert (found.images, found.patients, found.level, found.few) == (91, 46, 0.99, False)


def test_a_model_that_did_not_change_reads_the_middle(guard: Guard) -> None:
    reading = guard.read(pixel)
    assert guard.range is not None
    assert (reading.auroc, reading.mean_score, reading.reason) == (guard.range.auroc, guard.range.mean_score, None)


@pytest.mark.parametrize(
    ("ruined", "reason"),
    [
        (lambda x: torch.full((len(x),), 0.5), "AUROC 0.5000 is below"),
        (lambda x: 1 - pixel(x), "AUROC 0.0"),
        (lambda x: (pixel(x) + 0.3).clamp(max=1), "mean score 0.4"),
        (lambda x: pixel(x) * 1e-3, "mean score 0.0001"),
        (lambda x: torch.where(pixel(x) < 0.5, pixel(x), torch.nan), "scores of the held images are not finite"),
        (lambda x: torch.full((len(x),), torch.inf), "182 of 182 scores of the held images are not finite"),
    ],
    ids=["constant", "reversed", "shifted up", "shifted down", "NaN", "infinite"],
)
def test_a_ruined_model_is_stopped(guard: Guard, ruined: Callable[[Tensor], Tensor], reason: str) -> None:
    found = guard.read(ruined).reason
    assert found is not None
    assert reason in found


def test_a_better_model_passes() -> None:
    """All anomalies above all normal images, whose scores stay what they were: an AUROC of 1 is far above the range."""
    normal, synthetic, patients = held_scores(0, 46, 91, 0.75)
    guard = guard_of(normal, synthetic, patients)
    found = guard.calibrate(pixel)

    def better(images: Tensor) -> Tensor:
        anomalous = torch.isin(pixel(images), torch.from_numpy(synthetic.astype(np.float32)))
        return torch.where(anomalous, 2.0, pixel(images))

    reading = guard.read(better)
    assert reading.auroc == 1
    assert reading.auroc > 2 * found.auroc - found.auroc_low
    assert reading.reason is None


@pytest.mark.parametrize("misranked", [0, 1])
def test_one_misranked_pair_is_no_rollback_of_a_nearly_perfect_model(misranked: int) -> None:
    normal, synthetic = np.linspace(0.0, 0.4, 60), np.linspace(0.6, 1.0, 60)
    if misranked:
        normal[-1] = 0.605
    guard = guard_of(normal, synthetic, [f"p{i // 2}" for i in range(60)])
    found = guard.calibrate(pixel)
    assert found.auroc == pytest.approx(1 - misranked / 3600)
    assert found.auroc_low <= found.auroc - 1 / 30
    if not misranked:
        assert found.auroc_low == pytest.approx(0.005 ** (1 / 30))  # Clopper and Pearson: 30 patients, no failure
    # Another pair: the least synthetic score falls below the greatest normal one.
    reading = guard.read(lambda x: torch.where(pixel(x) == pixel(x).new_tensor(0.6), 0.39, pixel(x)))
    assert reading.auroc < found.auroc
    assert reading.reason is None


def test_more_of_the_level_is_a_wider_range_and_the_seed_repeats_it() -> None:
    study = held_scores(1, 46, 91, 0.915)
    wide, narrow = (guard_of(*study, level=level).calibrate(pixel) for level in (0.99, 0.8))
    assert wide.auroc_low < narrow.auroc_low
    assert wide.mean_high - wide.mean_low > narrow.mean_high - narrow.mean_low
    assert guard_of(*study).calibrate(pixel) == wide
    other = guard_of(*study, seed=1).calibrate(pixel)
    assert other.auroc == wide.auroc
    assert other.auroc_low != wide.auroc_low


def test_a_patients_images_are_drawn_together() -> None:
    """Four images a patient that are all alike carry the error of one."""
    normal, synthetic, patients = held_scores(2, 30, 30, 0.9)
    once = guard_of(normal, synthetic, patients).calibrate(pixel)
    often = guard_of(np.repeat(normal, 4), np.repeat(synthetic, 4), list(np.repeat(patients, 4))).calibrate(pixel)
    assert often.auroc_low == pytest.approx(once.auroc_low, abs=1e-6)
    assert often.mean_high == pytest.approx(once.mean_high, abs=1e-6)


def test_eight_bits_are_scored_in_their_full_range_and_without_gradients() -> None:
    images = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8)
    seen: list[Tensor] = []
    weight = torch.ones((), requires_grad=True)

    def score(batch: Tensor) -> Tensor:
        seen.append(batch)
        scores = batch.flatten(1).mean(dim=1) * weight
        assert not scores.requires_grad
        return scores

    guard = Guard(images, 255 - images, ["a", "a", "b", "b", "c", "c"], batch_size=4)
    assert guard.calibrate(score).few
    assert [len(batch) for batch in seen] == [4, 2, 4, 2]
    assert seen[0].dtype == torch.float32
    torch.testing.assert_close(torch.cat(seen[:2]), images.float() / 255)


def test_what_cannot_be_a_guard_is_refused() -> None:
    images = torch.zeros(4, 1, 2, 2)
    with pytest.raises(DataError, match=r"1 patient\(s\), but a range needs at least 2.*'guard_data'"):
        Guard(images, images, ["a"] * 4)
    with pytest.raises(DataError, match=r"0 patient\(s\)"):
        Guard(images[:0], images[:0], [])
    with pytest.raises(DataError, match="3 patients for 4 images"):
        Guard(images, images, ["a", "b", "c"])
    with pytest.raises(DataError, match=r"\[4, 1, 2, 2\] and synthetic ones \[3, 1, 2, 2\]"):
        Guard(images, images[:3], ["a", "b", "c", "d"])
    guard = Guard(images, images, ["a", "b", "c", "d"])
    with pytest.raises(ConfigError, match="calibrate it"):
        guard.read(pixel)
    with pytest.raises(DataError, match="with the source model 8 of 8 scores of the held images are not finite"):
        guard.calibrate(lambda x: pixel(x) / 0)
    with pytest.raises(DataError, match=r"scores of shape \[4, 1, 2, 2\] for 4 images"):
        guard.calibrate(lambda x: x)
    with pytest.raises(DataError, match=r"within 0\.\.1"):
        Guard(images + 2, images, ["a", "b", "c", "d"]).calibrate(pixel)


def test_known_patients_are_left_out() -> None:
    cases, keys = ["a1", "b1", "a2", "c1"], ["a", "b", "a", "c"]
    assert disjoint(cases, keys, {"a", "d"}) == (["b1", "c1"], 2)
    assert disjoint(cases, keys, []) == (cases, 0)
    with pytest.raises(DataError, match="2 patient keys for 4 cases"):
        disjoint(cases, keys[:2], {"a"})
