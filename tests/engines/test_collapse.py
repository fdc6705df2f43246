"""Collapse ends a run with a clear word; a healthy training does not end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from torch.nn import functional as F

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.data.cache import resized_array
from vitad_med.engines.collapse import CollapseMonitor
from vitad_med.engines.distillation import DistillationTrainer
from vitad_med.engines.feature_monitors import feature_monitors
from vitad_med.engines.loading import ImageArray, train_loader
from vitad_med.engines.optimization import create_optimizer, parameter_groups
from vitad_med.engines.pretraining import create_objective, create_views
from vitad_med.engines.setup import prepare, schedule, training_cases
from vitad_med.errors import ConfigError, VitadError
from vitad_med.networks.distillation import DistillationNetwork

HEALTHY = {"target_entropy": 0.9, "usage_entropy": 0.99, "feature_spread": 0.3, "identity": 0.2}
EPOCHS, PATIENCE = 8, 8


def train(images: np.ndarray) -> tuple[DistillationTrainer, list[dict[str, float]]]:
    """24 steps of 16 images on ViT-Ti."""
    prepare(0)
    student = DistillationNetwork(weights="embedded", prototypes=20, head_hidden=64, head_batch_norm=False)
    teacher = student.teacher_copy()
    views = create_views("apmask", MultiCrop(1, 64, (0.4, 1.0), 2, 32, (0.1, 0.4)), Augment(blur=1.0), student, 0)
    optimizer = create_optimizer(parameter_groups([student], 0.04), "adamw", 3e-4)
    loader = train_loader(ImageArray(images), 16, seed=0)
    scheduler = schedule(optimizer, loader, EPOCHS, 1)
    seen: list[dict[str, float]] = []

    class Watched(CollapseMonitor):
        def look(self, engine: DistillationTrainer) -> None:  # type: ignore[override]
            seen.append(engine.state.output["monitors"])
            super().look(engine)

    objective = create_objective("apmask", 20, epsilon=0.02)
    handlers = [Watched(PATIENCE)]
    trainer = DistillationTrainer(
        "cpu", EPOCHS, loader, student, teacher, objective, optimizer, scheduler, views,
        frozen_prototype_epochs=0, shared_prototypes=True, train_handlers=handlers,
    )  # fmt: skip
    return trainer, seen


@pytest.fixture(scope="module")
def radiographs(nih_mini: Path) -> np.ndarray:
    return resized_array(training_cases("nih_chestxray14", str(nih_mini), 0.1, 0, {}), 72)


def test_a_short_run_on_radiographs_lowers_the_loss_and_is_no_collapse(radiographs: np.ndarray) -> None:
    trainer, seen = train(radiographs)
    trainer.run()
    assert len(seen) == 24
    first, last = (np.mean([m["loss"] for m in part]) for part in (seen[:6], seen[-6:]))
    assert last < first - 0.05
    assert np.mean([m["agreement"] for m in seen[-6:]]) > 0.1


def test_constant_images_are_reported_though_augmentation_makes_them_differ(radiographs: np.ndarray) -> None:
    trainer, seen = train(np.full_like(radiographs, 128))
    with pytest.raises(VitadError, match=r"has collapsed at step \d+: identity is .* look whether the training images"):
        trainer.run()
    assert len(seen) <= 20
    assert seen[-1]["feature_spread"] > 0.1  # brightness is told apart, images are not


@pytest.mark.parametrize(
    ("monitor", "value", "word"),
    [
        ("target_entropy", 0.999, "above 0.995; targets say nothing"),
        ("usage_entropy", 0.1, "below 0.15; nearly all images fall on one prototype"),
        ("feature_spread", 0.001, "below 0.02; all images have nearly the same features"),
        ("identity", 0.0, "below 0.03; two views of one image"),
        ("identity", float("nan"), "identity is nan"),
    ],
)
def test_each_sign_must_hold_and_is_named_with_its_figure(monitor: str, value: float, word: str) -> None:
    collapse = CollapseMonitor(patience=3)

    def step(**changed: float) -> None:
        state = SimpleNamespace(output={"monitors": {**HEALTHY, **changed}}, iteration=9)
        collapse.look(SimpleNamespace(state=state))  # type: ignore[arg-type]

    for _ in range(5):
        step()
    for _ in range(2 if value == value else 0):
        step(**{monitor: value})
    with pytest.raises(VitadError, match="training has collapsed at step 9") as caught:
        step(**{monitor: value})
    assert word in str(caught.value)
    assert monitor in str(caught.value)


@pytest.mark.parametrize(
    ("epochs", "length", "patience"), [(40, 1, 20), (1, 1000, 50), (2, 5, 8), (8, 1, 8), (7, 1, None), (1, 4, None)]
)
def test_a_short_run_is_judged_over_half_of_its_steps(
    epochs: int, length: int, patience: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    steps = []

    def step(engine: Engine, batch: int) -> dict[str, dict[str, float]]:
        steps.append(batch)
        return {"monitors": {**HEALTHY, "identity": 0.0}}

    engine = Engine(step)
    CollapseMonitor().attach(engine)
    if patience is None:
        engine.run(range(length), max_epochs=epochs)
        assert "steps are too few to see whether training collapses" in caplog.text
    else:
        with pytest.raises(VitadError, match=f"collapsed at step {patience}: identity is 0 .* over {patience} steps"):
            engine.run(range(length), max_epochs=epochs)
        assert len(steps) == patience


def test_a_resumed_run_stops_where_a_whole_one_would() -> None:
    whole, resumed = CollapseMonitor(patience=4), CollapseMonitor(patience=4)
    bad = SimpleNamespace(state=SimpleNamespace(output={"monitors": {**HEALTHY, "identity": 0.0}}, iteration=1))
    for _ in range(3):
        whole.look(bad)  # type: ignore[arg-type]
    resumed.load_state_dict(whole.state_dict())
    for collapse in (whole, resumed):
        with pytest.raises(VitadError, match="identity"):
            collapse.look(bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="collapse#patience"):
        CollapseMonitor(patience=0)


def test_spread_is_one_on_the_sphere_and_none_for_one_direction() -> None:
    spread = feature_monitors(torch.randn(500, 64), torch.randn(500, 64))["feature_spread"]
    assert spread == pytest.approx(1, abs=0.05)
    same = torch.randn(1, 64).repeat(8, 1) * torch.rand(8, 1)
    assert feature_monitors(same, same)["feature_spread"] == pytest.approx(0, abs=1e-5)


def test_identity_is_one_for_equal_pairs_and_none_for_unrelated_ones() -> None:
    features = torch.randn(200, 64)
    assert feature_monitors(features, 3 * features)["identity"] == pytest.approx(1, abs=1e-4)
    assert feature_monitors(features, torch.randn(200, 64))["identity"] == pytest.approx(0, abs=0.02)
    common = F.normalize(torch.randn(1, 64), dim=1) * 100  # what all images share does not hide that pairs are equal
    assert feature_monitors(features + common, features + common)["identity"] == pytest.approx(1, abs=1e-2)
