"""The proxy loss: its parts add up, Dice sees the right crops, and bad keys are refused."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vitad_med.engines.proxy_task import in_parts
from vitad_med.errors import ConfigError
from vitad_med.objectives.proxy import ProxyLoss, Views
from vitad_med.outputs import ProxyOutput


def views(count: int, size: int, is_global: bool) -> tuple[Views, ProxyOutput]:
    labels = torch.arange(count) % 2
    masks = torch.zeros(count, 1, size, size)
    masks[1::2, :, : size // 2, : size // 4] = 1
    crops = Views(torch.rand(count, 1, size, size), labels, masks, is_global)
    return crops, ProxyOutput(torch.randn(count, 2), torch.randn(count, 1, 2, 2), torch.randn(count, 1, 2, 2))


def test_matches_cross_entropy_and_soft_dice_by_hand() -> None:
    crops, output = views(4, 8, True)
    loss = ProxyLoss(dice_weight=0.3)
    terms = loss(output, crops, loss.totals([crops]))
    probability = F.interpolate(output.map_logits.sigmoid(), size=8, mode="bilinear")[1::2]
    truth = crops.masks[1::2]
    overlap = (probability * truth).sum(dim=(1, 2, 3))
    dice = 1 - (2 * overlap + 1e-5) / (probability.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3)) + 1e-5)
    torch.testing.assert_close(terms.dice, dice.mean())
    expected = 0.7 * F.cross_entropy(output.logits, crops.labels) + 0.3 * dice.mean()
    torch.testing.assert_close(terms.loss, expected)


def test_parts_of_a_step_sum_to_the_whole() -> None:
    loss = ProxyLoss(dice_views="all_synthetic", token_weight=1.5)
    large, large_output = views(6, 8, True)
    small, small_output = views(10, 4, False)
    totals = loss.totals([large, small])
    whole = loss(large_output, large, totals).loss + loss(small_output, small, totals).loss
    summed = torch.zeros(())
    for crops, output in ((large, large_output), (small, small_output)):
        start = 0
        for part in in_parts(crops, 4):
            stop = start + len(part.images)
            piece = ProxyOutput(*(part[start:stop] for part in output))
            summed = summed + loss(piece, part, totals).loss
            start = stop
    torch.testing.assert_close(summed, whole)


def test_dice_leaves_out_local_and_empty_crops() -> None:
    large, _ = views(6, 8, True)
    small, _ = views(6, 4, False)
    assert ProxyLoss().totals([large, small]) == (12, 3)
    assert ProxyLoss(dice_views="all_synthetic").totals([large, small]) == (12, 6)


def test_without_any_anomaly_in_view_the_loss_is_finite() -> None:
    crops, output = views(2, 8, True)
    empty = Views(crops.images, crops.labels, torch.zeros_like(crops.masks), True)
    terms = ProxyLoss()(output, empty, (2, 0))
    assert torch.isfinite(terms.loss)
    assert float(terms.dice) == 0


@pytest.mark.parametrize(
    ("options", "key"), [({"dice_weight": 1.5}, "dice_weight"), ({"dice_views": "x"}, "dice_views")]
)
def test_bad_keys(options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        ProxyLoss(**options)  # type: ignore[arg-type]
