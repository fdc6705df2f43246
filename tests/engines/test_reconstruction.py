"""Training of autoencoders: batches that follow from the step, the watch over the loss, and the best epoch."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch.testing._internal.distributed.fake_pg import FakeStore

from vitad_med.augmentation.affine import RandomAffine
from vitad_med.checkpoint import load_checkpoint
from vitad_med.data.cache import resized_array
from vitad_med.data.registry import read_cases
from vitad_med.engines.checkpointing import Checkpointing
from vitad_med.engines.loading import ImageArray, train_loader
from vitad_med.engines.optimization import create_optimizer, parameter_groups
from vitad_med.engines.reconstruction import (
    AutoencoderBatch,
    LossWatch,
    create_network,
    say_start,
    scales_loss,
    trainable,
)
from vitad_med.engines.reconstruction_validation import FIGURE, BestEpoch, ReconstructionValidation
from vitad_med.errors import ConfigError, VitadError
from vitad_med.networks.anovit import AnoViT
from vitad_med.networks.autoencoder import ConvAutoencoder
from vitad_med.networks.reconstruction import ReconstructionNetwork
from vitad_med.networks.state import load_model
from vitad_med.objectives.reconstruction import ReconstructionLoss

SIZE = 32
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(nih_mini: Path) -> np.ndarray:
    return resized_array(read_cases("nih_chestxray14", str(nih_mini), "train")[:16], SIZE)


def small(model: str = "l2_cae") -> ReconstructionNetwork:
    return create_network(model, SIZE, weights="none", widths=(16, 8), strides=(2, 2, 1), cae_input="same")


def trainer(
    network: ReconstructionNetwork, images: np.ndarray, epochs: int, handlers: list, batch_size: int = 8, amp=False
) -> SupervisedTrainer:
    optimizer = create_optimizer(parameter_groups([network], 0.0), "adamw", 1e-3)
    prepare = AutoencoderBatch(network, RandomAffine(rotation=5.0), seed=3)
    return SupervisedTrainer(
        CPU,
        epochs,
        train_loader(ImageArray(images), batch_size, seed=3),
        trainable(network, CPU, amp),
        optimizer,
        ReconstructionLoss(),
        prepare_batch=prepare,
        decollate=False,
        train_handlers=[prepare, LossWatch(optimizer), *handlers],
    )


@pytest.mark.parametrize(("model", "amp"), [("anovit", False), ("anovit", True), ("l2_cae", False)])
def test_a_few_steps_on_radiographs_lower_the_error(model: str, amp: bool, images: np.ndarray) -> None:
    network = small(model)
    validation = ReconstructionValidation(images, network)
    before = validation.error()
    trainer(network, images, 10, [], amp=amp).run()
    assert validation.error() < 0.7 * before


def test_the_models_go_by_their_names() -> None:
    assert isinstance(small("anovit"), AnoViT)
    assert isinstance(small("l2_cae"), ConvAutoencoder)
    with pytest.raises(ConfigError, match="model 'vae' is unknown: use 'anovit' or 'l2_cae'"):
        create_network("vae")  # type: ignore[arg-type]


def test_a_random_encoder_is_said_to_be_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    say_start("anovit", "none")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "random weights" in caplog.text
    caplog.clear()
    say_start("anovit", "/site/somewhere/encoder.safetensors")
    say_start("anovit", "none", "/site/somewhere/model.pt")
    say_start("l2_cae", "embedded")
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert "/site" not in caplog.text


def test_a_batch_follows_from_its_step_alone(images: np.ndarray) -> None:
    network = small()
    prepare = AutoencoderBatch(network, RandomAffine(rotation=10.0), seed=1)
    batch = {"image": torch.from_numpy(images[:4])}
    with pytest.raises(RuntimeError, match="handlers"):
        prepare(batch, CPU)
    engine = Engine(lambda _, __: None)
    prepare.attach(engine)
    made = []
    for iteration in (1, 2, 1):
        engine.state.iteration = iteration
        torch.rand(iteration)  # other draws do not matter
        made.append(prepare(batch, CPU))
    assert torch.equal(made[0][0], made[2][0])
    assert not torch.equal(made[0][0], made[1][0])
    # The target is the augmented image, as the network is to reconstruct it.
    assert torch.equal(made[0][1], network.target(made[0][0]))
    plain = AutoencoderBatch(network, RandomAffine(), seed=1)
    plain.attach(engine)
    torch.testing.assert_close(plain(batch, CPU)[0], batch["image"] / 255)


def test_processes_draw_differently_and_each_the_same_again(images: np.ndarray) -> None:
    batch = {"image": torch.from_numpy(images[:4])}

    def drawn(rank: int) -> torch.Tensor:
        # A group of two of which this process is one; torch's backend that exchanges nothing needs no other process.
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=2)
        try:
            prepare = AutoencoderBatch(small(), RandomAffine(rotation=10.0), seed=1)
            engine = Engine(lambda _, __: None)
            prepare.attach(engine)
            engine.state.iteration = 5
            return prepare(batch, CPU)[0]
        finally:
            dist.destroy_process_group()

    first, second, again = drawn(0), drawn(1), drawn(1)
    assert torch.equal(second, again)
    assert not torch.equal(first, second)


def test_loss_and_rate_are_told_and_a_loss_that_is_no_number_stops(images: np.ndarray) -> None:
    network = small()
    told: list[dict[str, float]] = []
    engine = trainer(network, images, 1, [])
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: told.append(e.state.output["monitors"]))
    engine.run()
    assert len(told) == 2
    assert all(math.isfinite(monitors["loss"]) and monitors["learning_rate"] == 1e-3 for monitors in told)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(VitadError, match="the loss is nan at step 0: lower learning_rate"):
        trainer(network, images, 1, []).run()
    with pytest.raises(VitadError, match="validation images are reconstructed as NaN"):
        ReconstructionValidation(images, network).error()


@torch.no_grad()
def test_the_validation_error_is_the_mean_squared_error_of_whole_images(images: np.ndarray) -> None:
    network = small().train()
    found = ReconstructionValidation(images[:5], network, batch_size=2).error()
    assert network.training
    each = []
    for image in images[:5]:
        x = torch.from_numpy(image[None].astype(np.float32) / 255)
        each.append(float((network.reconstruct(x) - x).square().mean()))
    assert found == pytest.approx(np.mean(each), rel=1e-5)


class Errors:
    """Stands for a validation whose errors are known; None is an epoch without one."""

    def __init__(self, network: ReconstructionNetwork, errors: list[float | None]) -> None:
        self.network, self.errors = network, errors

    def __call__(self, engine: Engine) -> None:
        engine.state.metrics.pop(FIGURE, None)
        if (error := self.errors[engine.state.epoch - 1]) is not None:
            engine.state.metrics[FIGURE] = error
        with torch.no_grad():  # the network of each epoch is recognised by this
            next(self.network.parameters()).fill_(engine.state.epoch)


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        ([0.3, 0.1, 0.2], 2),
        ([0.3, 0.2, 0.1], 3),
        ([0.1, 0.1, 0.1], 1),
        ([None, 0.2, None], 2),
        ([None, None, None], 3),
    ],
)
def test_the_epoch_of_the_lowest_error_is_kept(errors: list[float | None], kept: int, tmp_path: Path) -> None:
    network = small()
    best = BestEpoch(network, tmp_path / "model.pt")
    engine = Engine(lambda _, __: None)
    engine.add_event_handler(Events.EPOCH_COMPLETED, Errors(network, errors))
    best.attach(engine)
    engine.run([0], max_epochs=3)
    assert (tmp_path / "model.pt").is_file() == any(error is not None for error in errors)
    best.finish()
    assert best.epoch == kept
    stored = small()
    load_model(tmp_path / "model.pt", stored)
    assert float(next(stored.parameters()).detach().flatten()[0]) == kept
    assert float(next(network.parameters()).detach().flatten()[0]) == kept


def test_a_resumed_training_knows_the_best_epoch_of_the_whole(tmp_path: Path) -> None:
    def run(errors: list[float | None], epochs: int) -> tuple[int, float]:
        network = small()
        best = BestEpoch(network, tmp_path / "model.pt")
        engine = Engine(lambda _, __: None)
        engine.add_event_handler(Events.EPOCH_COMPLETED, Errors(network, errors))
        best.attach(engine)
        Checkpointing(tmp_path / "training.ckpt", {"best_epoch": best}, {}).attach(engine)
        engine.run([0], max_epochs=epochs)
        best.finish()
        return best.epoch, float(next(network.parameters()).detach().flatten()[0])

    assert run([0.1, 0.2], 2) == (1, 1)
    assert run([0.0, 0.0, 0.3], 3) == (1, 1)


def test_the_loss_scale_of_the_stock_trainer_is_kept_in_the_checkpoint(tmp_path: Path) -> None:
    engines = []
    for scale in (512.0, 65536.0):
        engine = Engine(lambda _, __: None)
        engine.scaler = torch.amp.GradScaler("cpu", init_scale=scale)  # type: ignore[attr-defined]
        engine.scaler.scale(torch.ones(1))  # makes the scale: it is lazy
        Checkpointing(tmp_path / "training.ckpt", {}, {}).attach(engine)
        engines.append(engine)
        engine.run([0], max_epochs=1)
    assert load_checkpoint(tmp_path / "training.ckpt")["grad_scaler"]["scale"] == 512.0
    assert engines[1].scaler.get_scale() == 512.0


def test_only_sixteen_bits_of_old_gpus_scale_the_loss() -> None:
    assert not scales_loss(CPU, True)
    assert not scales_loss(CPU, False)
    assert not scales_loss(torch.device("cuda"), False)
