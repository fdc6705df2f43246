"""Several sizes in one evaluation: one size is the plain evaluation, averages and votes are those of a hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vitad_med.data.image_io import resize
from vitad_med.engines.inference import AnomalyInferer
from vitad_med.engines.multiscale import PAPER_SIZES, MultiScaleInferer, check_sizes, combine_scores, largest, listed
from vitad_med.engines.precision import cpu_has_bf16
from vitad_med.errors import ConfigError
from vitad_med.networks.proxy import ProxyNetwork

SIZES = (32, 48, 80)


@pytest.fixture(scope="module")
def network() -> ProxyNetwork:
    torch.manual_seed(0)
    made = ProxyNetwork(weights="none", image_size=32, head_hidden=16, head_bottleneck=8, detail_width=4).eval()
    with torch.no_grad():  # an untrained network says nearly the same of every image and place
        for layer in (*made.head.trunk, made.head.last):
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(10)
        made.encoder.pos_embed.mul_(20)
        made.aggregator.slope_raw.fill_(5)
    return made


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 1, 80, 80, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("size", [32, 48])
def test_one_size_is_the_plain_evaluation_bit_for_bit(
    network: ProxyNetwork, images: torch.Tensor, size: int, amp: bool
) -> None:
    sized = resize(images, size)
    expected = AnomalyInferer(amp)(sized, network)
    found = MultiScaleInferer([size], amp=amp)(sized, network)
    assert torch.equal(found.score, expected.score)
    assert torch.equal(found.map, expected.map)
    assert found.map.dtype == torch.float32


def test_maps_and_probabilities_are_averaged(network: ProxyNetwork, images: torch.Tensor) -> None:
    found = MultiScaleInferer(SIZES)(images, network)
    maps, scores = [], []
    with torch.no_grad():
        for size in SIZES:
            output = network.train_outputs(resize(images, size))
            maps.append(F.interpolate(output.map_logits.sigmoid(), (80, 80), mode="bilinear", align_corners=False))
            scores.append(output.logits.softmax(dim=1)[:, 1])
    assert torch.allclose(found.map, sum(maps) / 3, atol=1e-6)
    assert torch.allclose(found.score, sum(scores) / 3, atol=1e-6)
    # The sizes disagree, or this would show nothing.
    assert float((maps[0] - maps[2]).abs().max()) > 0.02
    assert float((scores[0] - scores[2]).abs().max()) > 0.02


def test_scaled_attention_is_averaged_before_the_sigmoid(network: ProxyNetwork, images: torch.Tensor) -> None:
    found = MultiScaleInferer(SIZES, map_average="scaled_attention")(images, network)
    logits = []
    with torch.no_grad():
        for size in SIZES:
            output = network.train_outputs(resize(images, size)).map_logits
            logits.append(F.interpolate(output, (80, 80), mode="bilinear", align_corners=False))
    assert torch.allclose(found.map, (sum(logits) / 3).sigmoid(), atol=1e-6)
    assert not torch.allclose(found.map, MultiScaleInferer(SIZES)(images, network).map, atol=1e-4)


def test_no_size_outweighs_another(network: ProxyNetwork) -> None:
    """Raw attention of the largest size would be a sixth of the smallest one's; the maps' means are of one order."""
    images = torch.rand(2, 1, 80, 80)
    with torch.no_grad():
        means = [float(network.train_outputs(resize(images, size)).map_logits.sigmoid().mean()) for size in SIZES]
    assert max(means) / min(means) < 2


@pytest.mark.parametrize(
    ("probabilities", "score"),
    [
        ([0.6, 0.6, 0.6, 0.6, 0.1, 0.1], 4 / 6),
        ([0.6, 0.1, 0.1, 0.1, 0.1, 0.1], 1 / 6),
        ([0.9, 0.9, 0.9, 0.4, 0.4, 0.4], 3.5 / 6),  # a draw, mean .65
        ([0.6, 0.6, 0.6, 0.1, 0.1, 0.1], 2.5 / 6),  # a draw, mean .35
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 0.0),  # not likelier than normal
        ([0.9] * 6, 1.0),
        ([0.6, 0.6, 0.1], 2 / 3),
        ([0.6], 1.0),
    ],
)
def test_votes(probabilities: list[float], score: float) -> None:
    column = torch.tensor(probabilities)[:, None]
    assert combine_scores(column, "vote").tolist() == pytest.approx([score])
    assert combine_scores(column).tolist() == pytest.approx([sum(probabilities) / len(probabilities)])


def test_a_vote_above_one_half_is_the_majority() -> None:
    probabilities = torch.rand(6, 500, generator=torch.Generator().manual_seed(0))
    votes = (probabilities > 0.5).sum(dim=0)
    majority = torch.where(votes == 3, probabilities.mean(dim=0) > 0.5, votes > 3)
    assert torch.equal(combine_scores(probabilities, "vote") > 0.5, majority)
    assert len(combine_scores(probabilities, "vote").unique()) <= 8


def test_parts_bound_a_forward_pass_and_change_nothing_but_rounding(
    network: ProxyNetwork, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = MultiScaleInferer(SIZES)(images, network)
    patches = []
    own = network.train_outputs

    def counted(part: torch.Tensor):
        patches.append(len(part) * (part.shape[-1] // 16) ** 2)
        return own(part)

    monkeypatch.setattr(network, "train_outputs", counted)
    parts = MultiScaleInferer(SIZES, part_patches=25)(images, network)
    assert max(patches) <= 25
    assert len(patches) == 1 + 2 + 3
    assert torch.allclose(parts.map, whole.map, atol=1e-5)
    assert torch.allclose(parts.score, whole.score, atol=1e-5)


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no bf16 arithmetic")
def test_bf16_is_close_and_float32_outside(network: ProxyNetwork, images: torch.Tensor) -> None:
    exact, rounded = (MultiScaleInferer(SIZES, amp=amp)(images, network) for amp in (False, True))
    assert rounded.map.dtype == rounded.score.dtype == torch.float32
    assert torch.allclose(exact.map, rounded.map, atol=0.1)
    assert not torch.equal(exact.map, rounded.map)


@pytest.mark.parametrize(
    ("sizes", "part"),
    [
        ([], r"sizes is \[\], but must be a list"),
        (224, "sizes is 224, but must be a list"),
        ("224", "sizes is '224', but must be a list"),
        ([224, 320, 224], "sizes holds 224 more than once"),
        ([224, 330], "sizes holds 330, which is no multiple of the patch size 16: use 320 or 336"),
        ([8], "use 16"),
        ([224.0], "sizes holds 224.0: use whole numbers"),
        ([True], "sizes holds True"),
        ([0], "sizes holds 0"),
    ],
)
def test_lists_that_cannot_be_evaluated_are_refused(sizes, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        MultiScaleInferer(sizes, patch_size=16)


def test_the_patch_size_of_the_network_counts(network: ProxyNetwork, images: torch.Tensor) -> None:
    inferer = MultiScaleInferer([30, 60])
    with pytest.raises(ConfigError, match="sizes holds 30, which is no multiple of the patch size 16: use 16 or 32"):
        inferer(images, network)


@pytest.mark.parametrize(
    "wrong",
    [{"map_average": "attention"}, {"image_score": "majority"}, {"part_patches": 0}],
    ids=lambda w: next(iter(w)),
)
def test_unknown_settings_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MultiScaleInferer(SIZES, **wrong)


def test_the_paper_has_six_sizes() -> None:
    check_sizes(PAPER_SIZES, 16)
    assert largest(PAPER_SIZES) == 512
    assert listed([224, 320]) == "224, 320"
