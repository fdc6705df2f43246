"""Features and detector by the keys of a config, and a fit as an engine."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events

from tests.normality.studies import SIZE, extractor, write_cases
from vitad_med.data.stream import CaseStream
from vitad_med.engines.normality import OnePass, check_fit, create_detector, create_extractor, describe, listed
from vitad_med.engines.precision import Precision
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.normality import NormalityFitting, choose_fit, load_normality
from vitad_med.normality.state import read_stored

TINY = {"backbone_weights": "random", "image_size": 32, "channels_kept": 5}


def test_words_stand_for_what_a_config_cannot_say() -> None:
    torch.manual_seed(0)
    whole = create_extractor(backbone_weights="random", image_size=32, channels_kept="all", grid="finest")
    assert (whole.channels, whole.grid_of(32)) == (192, (2, 2))
    made = create_extractor(**TINY, grid=1, channel_seed=3)
    assert (made.channels, made.grid_of(32)) == (5, (1, 1))
    assert {"grid": 1, "channel_seed": 3, "amp": False}.items() <= made.settings.items()


def test_weights_of_the_backbone_are_named_by_their_own_key() -> None:
    with pytest.raises(WeightsError, match=r"^backbone_weights: weights 'embedded' of ConTNet-B: no package carries"):
        create_extractor("contnet_b")
    with pytest.raises(ConfigError, match="image_size 100 is no multiple of 224"):
        create_extractor("contnet_b", "random", 100)


def fitted(folder: Path, count: int = 12) -> tuple[OnePass, list[str]]:
    """A fit of a few images that waits to be run, and the events that a handler of it saw."""
    cases = write_cases(folder / "images", count)
    fitting = NormalityFitting(extractor(), choose_fit(), CaseStream(cases, SIZE, 4), folder / "model.safetensors")
    seen: list[str] = []

    class Watch:
        def attach(self, engine: Engine) -> None:
            for event in (Events.STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
                engine.add_event_handler(event, lambda _, name=event.name: seen.append(name))

    return OnePass(fitting, len(cases), handlers=[None, Watch()]), seen


def test_a_fit_is_one_iteration_of_an_engine(tmp_path: Path) -> None:
    engine, seen = fitted(tmp_path)
    state = engine.run()
    assert seen == ["STARTED", "EPOCH_COMPLETED", "COMPLETED"]
    assert state.metrics == {"images": 12.0}
    assert (state.epoch, state.iteration) == (1, 1)
    assert read_stored(tmp_path / "model.safetensors", "model").settings["images"] == 12
    model = load_normality(tmp_path / "model.safetensors", extractor())
    assert describe(model) == "gaussian, epsilon 0.01, images 12"
    assert listed([1, 2]) == "1, 2"


def test_a_second_pass_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="epochs is 2: a fit is one pass, in which every image counts once"):
        check_fit(2, "embedded", "vit_tiny_patch16_224", "embedded")
    with pytest.raises(ConfigError, match="epochs is 3"):
        OnePass(fitted(tmp_path)[0].fitting, 12, max_epochs=3)


def test_two_sources_of_weights_are_refused_and_random_ones_told(caplog: pytest.LogCaptureFixture) -> None:
    check_fit(1, "embedded", "resnet18", "timm")
    check_fit(1, "a.pth", "resnet18", "a.pth")
    with pytest.raises(ConfigError, match=r"weights is 'a.pth' and backbone_weights 'timm'.*give backbone_weights"):
        check_fit(1, "a.pth", "resnet18", "timm")
    assert not caplog.records
    for word in ("random", "none"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            check_fit(1, word, "contnet_b", word)
        assert "backbone 'contnet_b' has random weights" in caplog.text


@pytest.mark.skipif(Precision.of("cpu", True).dtype is None, reason="this CPU has no 16-bit arithmetic")
def test_features_of_mixed_precision_are_fitted_so_and_scored_so(tmp_path: Path) -> None:
    cases = write_cases(tmp_path / "images", 6)
    means = {}
    for amp in (False, True):
        torch.manual_seed(0)
        made = create_extractor(**TINY, amp=amp)
        path = tmp_path / f"{amp}.safetensors"
        precision = Precision.of("cpu", amp).autocast
        NormalityFitting(made, choose_fit(), CaseStream(cases, SIZE, 4), path, precision=precision).run()
        means[amp] = read_stored(path, "model").tensors["mean"]
        torch.manual_seed(0)
        with pytest.raises(ConfigError, match=rf"was fitted with amp {amp}, here it is {not amp}"):
            create_detector(path, **TINY, amp=not amp)
    assert not torch.equal(means[False], means[True])
    torch.testing.assert_close(means[False], means[True], rtol=0.05, atol=0.05)
