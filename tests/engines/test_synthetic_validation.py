"""The proxy task's own figures: reported beside those of a map that only knows where anomalies are put."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events

from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.engines.proxy_task import Scorer
from vitad_med.engines.synthetic_validation import FIGURES, SyntheticCheck, SyntheticSet, SyntheticValidation
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.synthesis import AttnSynth

SIZE = 64


@pytest.fixture(scope="module")
def data(nih_mini: Path) -> SyntheticSet:
    return SyntheticSet(read_chestxray14(nih_mini, section="train"), Scorer(image_size=SIZE), AttnSynth(), SIZE)


@pytest.fixture
def network() -> ProxyNetwork:
    torch.manual_seed(0)
    return ProxyNetwork(weights="none", image_size=SIZE, head_hidden=16)


def test_the_same_seed_gives_the_same_anomalies(data: SyntheticSet, nih_mini: Path) -> None:
    again = SyntheticSet(
        read_chestxray14(nih_mini, section="train"), Scorer(image_size=SIZE), AttnSynth(), SIZE, limit=None
    )
    assert torch.equal(again.synthetic, data.synthetic)
    assert torch.equal(again.masks, data.masks)


def test_a_map_that_says_nothing_scores_half_and_places_alone_score_more(
    data: SyntheticSet, network: ProxyNetwork
) -> None:
    with torch.no_grad():
        network.aggregator.slope_raw.fill_(-200.0)
    figures = data.report(network)
    # Resizing a constant map leaves rounding of the last bit.
    assert figures["synthetic_pixel_auroc"] == pytest.approx(0.5, abs=0.02)
    assert figures["synthetic_conditioned_auroc"] == pytest.approx(0.5, abs=0.02)
    assert figures["synthetic_pixel_null"] > 0.55


def test_the_report_agrees_with_the_figures_of_training(data: SyntheticSet, network: ProxyNetwork) -> None:
    network.train()
    quick, report = data.evaluate(network), data.report(network)
    assert network.training
    assert report["synthetic_image_auroc"] == quick["synthetic_image_auroc"]
    assert report["synthetic_pixel_auroc"] == pytest.approx(quick["synthetic_pixel_auroc"], abs=1e-3)


def test_an_epoch_that_was_not_validated_shows_no_figure(data: SyntheticSet, network: ProxyNetwork) -> None:
    engine = Engine(lambda _, __: None)
    SyntheticValidation(data, network, interval=2).attach(engine)
    shown: list[bool] = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: shown.append(set(FIGURES) <= e.state.metrics.keys()))
    engine.run([0], max_epochs=4)
    assert shown == [False, True, False, True]


@pytest.mark.parametrize("enabled", [True, False])
def test_figures_of_an_earlier_evaluation_do_not_stay(
    network: ProxyNetwork, nih_mini: Path, tmp_path: Path, enabled: bool
) -> None:
    abnormal = [case for case in read_chestxray14(nih_mini, section="test") if case.label == 1]
    (tmp_path / "synthetic.json").write_text("{}")
    engine = Engine(lambda engine, batch: batch)
    scorer = Scorer(image_size=SIZE)
    SyntheticCheck(network, abnormal, scorer, AttnSynth(), SIZE, tmp_path, "model", enabled=enabled).attach(engine)
    engine.run([0])
    assert not (tmp_path / "synthetic.json").exists()
