"""The loop of pre-training: one step by hand, every objective resumed bit for bit, and what it refuses."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.multicrop import MultiCrop, crop
from vitad_med.augmentation.views import SharedViews, ViewMaker
from vitad_med.engines.checkpointing import Checkpointing
from vitad_med.engines.distillation import DistillationTrainer
from vitad_med.engines.loading import ImageArray, train_loader
from vitad_med.engines.optimization import create_optimizer, parameter_groups
from vitad_med.engines.pretraining import METHODS, create_objective, create_views
from vitad_med.engines.setup import prepare, schedule
from vitad_med.errors import ConfigError, VitadError
from vitad_med.networks.distillation import DistillationNetwork
from vitad_med.objectives.dino import DINOLoss
from vitad_med.reproducibility import generator

SIZE, SEED, PROTOTYPES = 32, 6, 6


class Interrupted(KeyboardInterrupt):
    """Stands for Ctrl-C, raised inside the running engine."""


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Smooth random pictures."""
    coarse = torch.from_numpy(np.random.default_rng(0).random((8, 1, 6, 6), dtype=np.float32))
    fine = nn.functional.interpolate(coarse, size=48, mode="bicubic").clamp(0, 1)
    return (fine.numpy() * 255).astype(np.uint8)


def small_network(objective: str, **options: object) -> DistillationNetwork:
    """ViT-Ti with three blocks: every part is there, and a test takes a second."""
    network = DistillationNetwork(
        image_size=SIZE,
        prototypes=PROTOTYPES,
        head_hidden=16,
        head_bottleneck=8,
        mask_token=METHODS[objective].hides,
        **options,  # type: ignore[arg-type]
    )
    network.encoder.blocks = network.encoder.blocks[:3]
    return network


def make_trainer(
    images: np.ndarray,
    objective: str,
    epochs: int = 2,
    folder: Path | None = None,
    batch_size: int = 4,
    local_size: int = 16,
    views: ViewMaker | None = None,
    drop_path_rate: float = 0.1,
    **options: object,
) -> DistillationTrainer:
    prepare(SEED)
    student = small_network(objective, drop_path_rate=drop_path_rate)
    teacher = student.teacher_copy()
    chosen = METHODS[objective]
    loss = create_objective(objective, PROTOTYPES, queue=5 if objective == "apmask" else 0)
    multicrop = MultiCrop(chosen.global_views, SIZE, (0.4, 1.0), 2, local_size, (0.1, 0.4))
    views = views or create_views(objective, multicrop, Augment(blur=1.0), student, SEED)
    optimizer = create_optimizer(parameter_groups([student], 0.04), "adamw", 1e-3)
    loader = train_loader(ImageArray(images), batch_size, seed=SEED)
    scheduler = schedule(optimizer, loader, epochs, 1, 2e-5)
    objects = {"student": student, "teacher": teacher, "objective": loss, "optimizer": optimizer}
    objects["scheduler"] = scheduler  # type: ignore[assignment]
    handlers = [] if folder is None else [Checkpointing(folder / "training.ckpt", objects, {"objective": objective})]  # type: ignore[arg-type]
    options = {"frozen_prototype_epochs": 0, "shared_prototypes": chosen.shared_prototypes, **options}
    return DistillationTrainer(
        "cpu",
        epochs,
        loader,
        student,
        teacher,
        loss,
        optimizer,
        scheduler,
        views,
        train_handlers=handlers,
        **options,  # type: ignore[arg-type]
    )


def weights(trainer: DistillationTrainer) -> dict[str, Tensor]:
    both = {"student": trainer.student, "teacher": trainer.teacher, "objective": trainer.objective}
    return {f"{n}.{k}": v.clone() for n, module in both.items() for k, v in module.state_dict().items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("objective", METHODS)
def test_an_interrupted_run_goes_on_bit_for_bit(objective: str, images: np.ndarray, tmp_path: Path) -> None:
    whole = make_trainer(images, objective, folder=tmp_path / "whole")
    whole.run()
    part = make_trainer(images, objective, folder=tmp_path / "part")

    @part.on(Events.ITERATION_COMPLETED(once=3))  # in the second epoch
    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        part.run()
    assert any(not torch.equal(value, weights(part)[name]) for name, value in weights(whole).items())
    resumed = make_trainer(images, objective, folder=tmp_path / "part")
    resumed.run()
    assert resumed.state.iteration == 4
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_one_ema_step_by_hand(images: np.ndarray) -> None:
    trainer = make_trainer(images[:4], "apmask", epochs=2, teacher_momentum=0.9)
    before = {name: value.clone() for name, value in trainer.teacher.named_parameters()}
    after: list[dict[str, Tensor]] = []

    @trainer.on(Events.ITERATION_COMPLETED)
    def keep() -> None:
        after.append({name: value.clone() for name, value in trainer.teacher.named_parameters()})
        after.append({name: value.clone() for name, value in trainer.student.named_parameters()})

    trainer.run()
    first, student, second, later = after
    for momentum, old, new, own in ((0.9, before, first, student), (0.95, first, second, later)):  # cosine: half way up
        for name in ("encoder.blocks.2.mlp.fc1.weight", "encoder.pos_embed", "head.trunk.0.weight"):
            expected = momentum * old[name].double() + (1 - momentum) * own[name].double()
            torch.testing.assert_close(new[name].double(), expected, rtol=0, atol=1e-7)
            assert not torch.equal(new[name], old[name])


def test_prototypes_have_unit_length_after_each_step_and_serve_both_networks(images: np.ndarray) -> None:
    trainer = make_trainer(images, "apmask")
    start = trainer.student.head.last.weight.detach().clone()
    stored: list[Tensor] = []

    @trainer.on(Events.ITERATION_COMPLETED)
    def keep() -> None:
        direction = trainer.student.head.last.parametrizations.weight.original1
        stored.append(direction.detach().norm(dim=1).clone())
        assert torch.equal(trainer.teacher.head.last.weight, trainer.student.head.last.weight)

    trainer.run()
    assert len(stored) == 4
    torch.testing.assert_close(torch.stack(stored), torch.ones(4, PROTOTYPES))
    found = trainer.student.head.last.weight.detach()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(PROTOTYPES))
    assert not torch.allclose(found, start, atol=1e-4)


def test_dino_averages_prototypes_and_its_stored_directions_are_left_alone(images: np.ndarray) -> None:
    trainer = make_trainer(images, "dino")
    trainer.run()
    assert not torch.equal(trainer.teacher.head.last.weight, trainer.student.head.last.weight)
    lengths = trainer.student.head.last.parametrizations.weight.original1.detach().norm(dim=1)
    assert float((lengths - 1).abs().min()) > 0.01
    torch.testing.assert_close(trainer.student.head.last.weight.detach().norm(dim=1), torch.ones(PROTOTYPES))


def test_dino_equals_a_plain_loop_bit_for_bit(images: np.ndarray) -> None:
    """What the embedded weights were trained with: both networks see global views, nothing is masked."""
    multicrop, augment = MultiCrop(2, SIZE, (0.4, 1.0), 2, 16, (0.1, 0.4)), Augment(blur=1.0)
    trainer = make_trainer(images, "dino", views=SharedViews(multicrop, augment, SEED), drop_path_rate=0.0, amp=False)
    student, teacher = copy.deepcopy(trainer.student), copy.deepcopy(trainer.teacher)
    loss_of = DINOLoss(PROTOTYPES, teacher_temperature=0.02, warmup_temperature=0.02, centering="sinkhorn")
    optimizer = create_optimizer(parameter_groups([student], 0.04), "adamw", 1e-3)
    loader = train_loader(ImageArray(images), 4, seed=SEED)
    scheduler = schedule(optimizer, loader, 2, 1, 2e-5)
    step = 0
    for epoch in (1, 2):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            pictures = batch["image"].float() / 255
            draws = generator(SEED, step, 0)
            large, small = multicrop.rectangles(4, draws)
            cut = [[crop(pictures, r, size) for r in views] for views, size in ((large, SIZE), (small, 16))]
            large_views, small_views = ([augment(view, draws) for view in views] for views in cut)
            student.train()
            with torch.no_grad():
                target = _logits(teacher, torch.cat(large_views))
            seen = [_logits(student, torch.cat(large_views)), _logits(student, torch.cat(small_views))]
            loss, _ = loss_of(torch.cat(seen).reshape(4, 4, -1), target.reshape(2, 4, -1), step / 4)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 3.0)
            optimizer.step()
            scheduler.step()
            momentum = 1 - (1 - 0.996) * 0.5 * (1 + math.cos(math.pi * step / 4))
            for mine, own in zip(teacher.parameters(), student.parameters(), strict=True):
                mine.lerp_(own.detach(), 1 - momentum)
            for mine, own in zip(teacher.buffers(), student.buffers(), strict=True):
                mine.copy_(own)
            step += 1
    trainer.run()
    for found, expected in ((trainer.student, student), (trainer.teacher, teacher)):
        for name, value in expected.state_dict().items():
            assert torch.equal(found.state_dict()[name], value), name


def _logits(network: DistillationNetwork, images: Tensor) -> Tensor:
    """timm's own forward pass and the head, as before there were masks."""
    tokens = network.encoder.forward_features((images.expand(-1, 3, -1, -1) - network.mean) / network.std)
    return network.head(tokens[:, 0])


@pytest.mark.parametrize("objective", METHODS)
def test_the_monitors_are_there(objective: str, images: np.ndarray) -> None:
    trainer = make_trainer(images[:4], objective, epochs=1)
    trainer.run()
    monitors = trainer.state.output["monitors"]
    common = {
        "loss",
        "gradient_norm",
        "target_entropy",
        "usage_entropy",
        "prototypes_used",
        "feature_spread",
        "identity",
    }
    assert monitors.keys() >= common
    assert all(math.isfinite(value) for value in monitors.values())
    assert "patch_loss" in monitors or objective != "ibot"


@pytest.mark.parametrize("objective", METHODS)
def test_copies_of_one_image_have_no_identity(objective: str, images: np.ndarray) -> None:
    """Views that are compared with themselves would tell copies apart, and no collapse would be seen."""
    copies = np.repeat(images[:1], 8, axis=0)
    trainer = make_trainer(copies, objective, epochs=4, batch_size=8)
    seen: list[float] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.output["monitors"]["identity"])
    )
    trainer.run()
    assert abs(float(np.mean(seen))) < 0.25


def test_the_teacher_drops_no_path(images: np.ndarray) -> None:
    trainer = make_trainer(images, "dino", epochs=1, drop_path_rate=0.5)
    trainer.run()
    assert trainer.student.training
    pictures = torch.rand(2, 1, SIZE, SIZE)
    assert torch.equal(trainer.teacher(pictures).logits, trainer.teacher(pictures).logits)
    assert not torch.equal(trainer.student(pictures).logits, trainer.student(pictures).logits)


def test_prototypes_rest_for_as_many_epochs_as_asked(images: np.ndarray) -> None:
    trainer = make_trainer(images, "dino", epochs=2, frozen_prototype_epochs=1)
    last = trainer.network.head.last
    states = [[value.clone() for value in last.parameters()]]
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: states.append([value.clone() for value in last.parameters()])
    )
    trainer.run()
    start, first, second = states
    assert all(torch.equal(one, two) for one, two in zip(start, first, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_saliency_is_the_teachers(images: np.ndarray) -> None:
    trainer = make_trainer(images, "apmask", amp=False)
    pictures = torch.from_numpy(images[:2, :, :SIZE, :SIZE]).float() / 255
    with torch.no_grad():
        before = trainer.attention(pictures)
        trainer.student.encoder.blocks[-1].attn.qkv.weight.add_(torch.randn(576, 192))
        torch.testing.assert_close(trainer.attention(pictures), before, rtol=0, atol=0)
        trainer.teacher.encoder.blocks[-1].attn.qkv.weight.add_(torch.randn(576, 192))
        assert not torch.allclose(trainer.attention(pictures), before, atol=1e-3)


@pytest.mark.parametrize(("value", "word"), [("loss", "the loss is nan"), ("gradient", "the gradient's norm is nan")])
def test_a_step_that_is_not_finite_ends_the_run_before_it_changes_anything(
    images: np.ndarray, value: str, word: str
) -> None:
    trainer = make_trainer(images, "dino")
    start = [parameter.detach().clone() for parameter in trainer.student.parameters()]

    def broken(student: Tensor, *_: object) -> tuple[Tensor, dict[str, float]]:
        nothing = (student * 0).sum()
        return (nothing / 0 if value == "loss" else nothing.sqrt()), {}  # the root's slope at 0 is infinite, times 0

    trainer.objective = broken  # type: ignore[assignment]
    with pytest.raises(VitadError, match=f"{word} at step 1: lower learning_rate"):
        trainer.run()
    assert all(torch.equal(now, before) for now, before in zip(trainer.student.parameters(), start, strict=True))


def test_refusals_name_key_and_remedy(images: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="set batch_size to at least 2"):
        make_trainer(images, "apmask", batch_size=1)
    with pytest.raises(ConfigError, match="at least 2 training images"):
        make_trainer(images[:1], "apmask")
    with pytest.raises(ConfigError, match=r"multicrop#local_size 20 .* patch size 16: use 16"):
        make_trainer(images, "apmask", local_size=20)
    wrong = SharedViews(MultiCrop(2, SIZE, local_views=0), Augment(), patch=8)
    with pytest.raises(ConfigError, match="patches of 8 px, the encoder of 16"):
        make_trainer(images, "dino", views=wrong)
