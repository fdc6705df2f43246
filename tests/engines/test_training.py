"""Training is repeatable bit for bit, whole or resumed, and the proxy task can be learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.augmentation.views import SharedViews
from vitad_med.engines.checkpointing import Checkpointing
from vitad_med.engines.distillation import DistillationTrainer
from vitad_med.engines.loading import ImageArray, train_loader
from vitad_med.engines.optimization import create_optimizer, parameter_groups
from vitad_med.engines.progress import EpochMeans, Progress
from vitad_med.engines.proxy_task import ProxyTask, Scorer
from vitad_med.engines.proxy_trainer import ProxyTrainer, proxy_optimizer
from vitad_med.engines.setup import prepare, schedule
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.networks.distillation import DistillationNetwork
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.objectives.dino import DINOLoss
from vitad_med.objectives.proxy import ProxyLoss
from vitad_med.synthesis import AttnSynth

SIZE, EPOCHS = 48, 3


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Smooth random pictures, so that patches cut from them differ."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((8, 1, 6, 6), dtype=np.float32))
    fine = nn.functional.interpolate(coarse, size=SIZE, mode="bicubic").clamp(0, 1)
    return (fine.numpy() * 255).astype(np.uint8)


class Interrupted(KeyboardInterrupt):
    """Stands for Ctrl-C after an epoch, raised inside the running engine."""


def run(trainer: ProxyTrainer | DistillationTrainer, stop_after: int | None) -> None:
    if stop_after is not None:

        @trainer.on(Events.ITERATION_COMPLETED)
        def stop(engine: ProxyTrainer) -> None:
            # In the middle of the epoch after the last checkpoint.
            if engine.state.iteration == stop_after * engine.state.epoch_length + 1:
                raise Interrupted

    try:
        trainer.run()
    except Interrupted:
        assert stop_after is not None


def train_proxy(
    images: np.ndarray,
    folder: Path,
    stop_after: int | None = None,
    epochs: int = EPOCHS,
    micro_batch: int = 64,
    drop_path_rate: float = 0.1,
    amp: bool = True,
    optimizer_name: str = "adamw",
    learning_rate: float = 1e-3,
    progress: type[Progress] = Progress,
) -> dict[str, Tensor]:
    prepare(5)
    network = ProxyNetwork(
        weights="none", image_size=SIZE, head_hidden=16, drop_path_rate=drop_path_rate, detail_width=4
    )
    optimizer = proxy_optimizer(network, optimizer_name, learning_rate, 1e-2)
    loader = train_loader(ImageArray(images), 4, seed=5)
    scheduler = schedule(optimizer, loader, epochs, 1)
    scorer = Scorer(weights="none", image_size=SIZE)
    task = ProxyTask(
        scorer,
        AttnSynth(),
        MultiCrop(1, SIZE, (0.4, 1.0), 2, 32, (0.05, 0.4)),
        Augment(blur=1.0, flip=0.5),
        seed=5,
        crop_focus=0.5,
    )
    checkpoint = Checkpointing(
        folder / "training.ckpt",
        {"network": network, "optimizer": optimizer, "scheduler": scheduler},
        {"epochs": epochs, "seed": 5},
    )
    trainer = ProxyTrainer(
        "cpu",
        epochs,
        loader,
        network,
        task,
        ProxyLoss(token_weight=1.0),
        optimizer,
        scheduler,
        micro_batch=micro_batch,
        amp=amp,
        train_handlers=[EpochMeans(), progress(history=folder / "history.csv"), checkpoint],
    )
    run(trainer, stop_after)
    return {name: value.clone() for name, value in network.state_dict().items()}


def train_distillation(images: np.ndarray, folder: Path, stop_after: int | None = None) -> dict[str, Tensor]:
    prepare(6)
    student = DistillationNetwork(image_size=SIZE, prototypes=16, head_hidden=16, head_bottleneck=8)
    teacher = student.teacher_copy()
    objective = DINOLoss(16)
    optimizer = create_optimizer(parameter_groups([student], 0.04), "adamw", 1e-3)
    loader = train_loader(ImageArray(images), 4, seed=6)
    scheduler = schedule(optimizer, loader, EPOCHS, 1)
    objects = {
        "student": student,
        "teacher": teacher,
        "objective": objective,
        "optimizer": optimizer,
        "scheduler": scheduler,
    }
    trainer = DistillationTrainer(
        "cpu",
        EPOCHS,
        loader,
        student,
        teacher,
        objective,
        optimizer,
        scheduler,
        SharedViews(MultiCrop(2, 32, (0.4, 1.0), 2, 16, (0.1, 0.4)), Augment(blur=1.0), seed=6),
        train_handlers=[Checkpointing(folder / "training.ckpt", objects, {"epochs": EPOCHS})],
    )
    run(trainer, stop_after)
    return {name: value.clone() for name, value in teacher.state_dict().items()}


@pytest.mark.parametrize("train", [train_proxy, train_distillation])
def test_seeded_runs_repeat_bit_for_bit_whole_and_resumed(train, images: np.ndarray, tmp_path: Path) -> None:
    whole = train(images, tmp_path / "whole")
    again = train(images, tmp_path / "again")
    part = train(images, tmp_path / "resumed", stop_after=1)
    assert any(not torch.equal(whole[name], part[name]) for name in whole)
    resumed = train(images, tmp_path / "resumed")
    for name, value in whole.items():
        assert torch.equal(value, again[name]), f"{name} differs between two whole runs"
        assert torch.equal(value, resumed[name]), f"{name} differs after resuming"


def test_micro_batches_do_not_change_the_step(images: np.ndarray, tmp_path: Path) -> None:
    # One float32 step of plain gradient descent without stochastic depth: what is left is the order of summation.
    options = {"epochs": 1, "drop_path_rate": 0.0, "amp": False, "optimizer_name": "sgd"}
    whole = train_proxy(images[:4], tmp_path / "whole", **options)
    parts = train_proxy(images[:4], tmp_path / "parts", micro_batch=3, **options)
    start = train_proxy(images[:4], tmp_path / "start", learning_rate=1e-12, **options)
    name = "encoder.blocks.3.mlp.fc1.weight"
    moved = whole[name] - start[name]
    assert float(moved.abs().max()) > 0
    torch.testing.assert_close(parts[name] - start[name], moved, atol=0.02 * float(moved.abs().max()), rtol=0)


def test_history_has_one_row_per_epoch_after_resuming(images: np.ndarray, tmp_path: Path) -> None:
    train_proxy(images, tmp_path, stop_after=2)
    train_proxy(images, tmp_path)
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2", "3"]


def test_other_settings_are_refused_and_finished_runs_stay(images: np.ndarray, tmp_path: Path) -> None:
    done = train_proxy(images, tmp_path)
    again = train_proxy(images, tmp_path)
    assert all(torch.equal(done[name], again[name]) for name in done)
    with pytest.raises(ConfigError, match=r"epochs: 3, now 4.*--resume False"):
        train_proxy(images, tmp_path, epochs=4)


def test_a_truncated_checkpoint_is_named(images: np.ndarray, tmp_path: Path) -> None:
    train_proxy(images, tmp_path, stop_after=1)
    path = tmp_path / "training.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"training.ckpt' is truncated"):
        train_proxy(images, tmp_path)


def test_time_left_after_resuming_counts_the_new_steps_only(images: np.ndarray, tmp_path: Path) -> None:
    train_proxy(images, tmp_path, stop_after=2)
    seen: list[int | None] = []
    original = Progress._left

    class Watched(Progress):
        def _left(self, engine: ProxyTrainer) -> str:
            seen.append(self._first_iteration)
            return original(self, engine)

    train_proxy(images, tmp_path, progress=Watched)
    assert seen == [4]
