"""What the pre-training config calls: each objective with what its paper does, refusals, warnings, the result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from safetensors import safe_open

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.masking import Masking
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.augmentation.views import PairedViews, SharedViews
from vitad_med.engines import pretraining
from vitad_med.engines.loading import ImageArray, train_loader
from vitad_med.engines.optimization import create_optimizer, warmup_cosine
from vitad_med.errors import ConfigError, DataError
from vitad_med.networks.distillation import DistillationNetwork
from vitad_med.networks.weights import build_encoder
from vitad_med.objectives.apmask import APMaskLoss
from vitad_med.objectives.dino import DINOLoss
from vitad_med.objectives.ibot import IBOTLoss
from vitad_med.objectives.msn import MSNLoss

MULTICROP = MultiCrop(1, 32, (0.4, 1.0), 2, 16, (0.1, 0.4))
TWO_GLOBAL = MultiCrop(2, 32, (0.4, 1.0), 2, 16, (0.1, 0.4))


@pytest.fixture(scope="module")
def network() -> DistillationNetwork:
    return DistillationNetwork(image_size=32, prototypes=4, head_hidden=8, head_bottleneck=4)


@pytest.mark.parametrize(
    ("objective", "maker", "masking", "loss", "shared"),
    [
        ("apmask", PairedViews, Masking("attention", 0.3, local=True), APMaskLoss, True),
        ("msn", PairedViews, Masking("random", 0.3, local=False), MSNLoss, True),
        ("dino", SharedViews, Masking("none", 0.3), DINOLoss, False),
        ("ibot", SharedViews, Masking("random", 0.3, local=False), IBOTLoss, False),
    ],
)
def test_each_objective_does_what_its_paper_does(
    objective: str, maker: type, masking: Masking, loss: type, shared: bool, network: DistillationNetwork
) -> None:
    assert pretraining.method(objective).shared_prototypes == shared
    multicrop = MULTICROP if maker is PairedViews else TWO_GLOBAL
    views = pretraining.create_views(objective, multicrop, Augment(), network, 3)
    assert type(views) is maker
    assert views.masking == masking
    assert views.patch == 16
    assert views.seed == 3
    assert type(pretraining.create_objective(objective, 4)) is loss
    assert getattr(views, "hide", False) == (objective == "ibot")


@pytest.mark.parametrize(("centering", "temperatures"), [("sinkhorn", (0.02, 0.02)), ("mean", (0.04, 0.07))])
def test_epsilon_is_the_temperature_of_shared_out_targets(centering: str, temperatures: tuple[float, float]) -> None:
    for objective in ("dino", "ibot"):
        loss = pretraining.create_objective(objective, 4, epsilon=0.02, centering=centering)  # type: ignore[arg-type]
        terms = [loss] if isinstance(loss, DINOLoss) else [loss.cls, loss.patch]  # type: ignore[attr-defined]
        assert all((term.temperature(0.0), term.temperature(1.0)) == pytest.approx(temperatures) for term in terms)


def test_msn_has_the_keys_that_are_its_own() -> None:
    loss = pretraining.create_objective("msn", 4, 0.2, sinkhorn_iterations=5, mean_entropy_weight=0.25)
    assert isinstance(loss, MSNLoss)
    assert (loss.temperature, loss.target_temperature) == (0.2, 0.05)
    assert (loss.mean_entropy_weight, loss.centering, loss.iterations) == (0.25, "sinkhorn", 5)
    assert pretraining.create_objective("msn", 4, centering="none").centering == "none"  # type: ignore[attr-defined]


def test_a_cropped_teacher_is_a_choice(network: DistillationNetwork) -> None:
    views = pretraining.create_views("msn", MULTICROP, Augment(), network, 0, teacher_scale=(0.3, 0.5))
    assert isinstance(views, PairedViews)
    assert views.teacher_scale == (0.3, 0.5)


def test_masking_is_a_choice(network: DistillationNetwork) -> None:
    views = pretraining.create_views("dino", TWO_GLOBAL, Augment(), network, 0, "attention", 0.5, "per_view")
    assert views.masking == Masking("attention", 0.5, local=True)
    assert views.saliency == "per_view"


def test_refusals_name_the_key(network: DistillationNetwork) -> None:
    def views(objective: str = "apmask", multicrop: MultiCrop = MULTICROP, **options: object) -> None:
        pretraining.create_views(objective, multicrop, Augment(), network, 0, **options)  # type: ignore[arg-type]

    for ratio in (1, 1.5, -0.1):
        with pytest.raises(ConfigError, match=f"mask_ratio {ratio} must lie in 0..1"):
            views(mask_ratio=ratio)
    with pytest.raises(ConfigError, match="objective 'swav' is unknown: use one of apmask, msn, dino, ibot"):
        views("swav")
    with pytest.raises(ConfigError, match="masking 'blocks' is unknown"):
        views(masking="blocks")
    with pytest.raises(ConfigError, match=r"multicrop#global_size 40 is no multiple of the patch size 16: use 32"):
        views(multicrop=MultiCrop(1, 40, local_views=0))
    with pytest.raises(ConfigError, match=r"multicrop#local_size 24 is no multiple of the patch size 16: use 32"):
        views(multicrop=MultiCrop(1, 32, local_size=24))
    for options in ({"masking": "none"}, {"mask_ratio": 0}, {"mask_ratio": 0.2}):  # .2 of 4 patches is none
        with pytest.raises(ConfigError, match="'ibot' learns from masked patches"):
            views("ibot", **options)
    with pytest.raises(ConfigError, match="multicrop#global_views 1: the networks share"):
        views("dino")
    for scale in ([0.5], "abc", 0.5, [0.9, 0.2], [0.0, 1.0], [0.5, 1.5], [True, True]):
        with pytest.raises(ConfigError, match=r"teacher_scale is .*, but must be two numbers, increasing, above 0"):
            views(teacher_scale=scale)
    for objective, centering in (("apmask", "mean"), ("msn", "mean"), ("dino", "none"), ("ibot", "none")):
        with pytest.raises(ConfigError, match=f"centering '{centering}' does not apply to objective '{objective}'"):
            pretraining.create_objective(objective, 4, centering=centering)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="queue 8 does not apply to objective 'dino'"):
        pretraining.create_objective("dino", 4, queue=8)
    with pytest.raises(ConfigError, match="set batch_size to at least 2"):
        pretraining.check(PairedViews(MULTICROP, Augment()), 1)


def test_a_ratio_of_0_is_no_masking_and_says_so(network: DistillationNetwork, caplog: pytest.LogCaptureFixture) -> None:
    views = pretraining.create_views("apmask", MULTICROP, Augment(), network, 0, mask_ratio=0)
    assert "mask_ratio 0 masks none of the 4 patches of a global view" in caplog.text
    made = views(torch.rand(2, 1, 32, 32), 0, 0, lambda images: images)
    assert made.student[0].kept is None


def test_a_ratio_that_masks_no_patch_of_local_views_says_so(
    network: DistillationNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    crops = MultiCrop(1, 64, local_views=1, local_size=32)
    pretraining.create_views("apmask", crops, Augment(), network, 0, mask_ratio=0.2)
    assert [record.message for record in caplog.records] == [
        "mask_ratio 0.2 masks none of the 4 patches of a local view: the student sees every one"
    ]
    pretraining.create_views("msn", crops, Augment(), network, 0, mask_ratio=0.2)  # masks global views alone
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("queue", "warned"), [(0, True), (4, False)])
def test_more_prototypes_than_samples_are_a_warning(queue: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    loader = train_loader(ImageArray(np.zeros((20, 1, 8, 8), np.uint8)), 16, 0)
    pretraining.warn_of_few_samples("apmask", loader, queue, 20)
    assert ("16 samples share 20 prototypes" in caplog.text) is warned
    assert ("a queue of at least 4" in caplog.text) is warned
    pretraining.warn_of_few_samples("dino", loader, 0, 20)
    pretraining.warn_of_few_samples("msn", loader, 0, 20, "none")
    assert len(caplog.records) == int(warned)
    pretraining.warn_of_few_samples("msn", loader, 0, 20)
    assert "a larger batch" in caplog.records[-1].message


@pytest.mark.parametrize("encoder", ["teacher", "student"])
def test_the_result_is_an_encoder_that_weights_accept(
    encoder: str, network: DistillationNetwork, tmp_path: Path
) -> None:
    teacher = network.teacher_copy()
    with torch.no_grad():
        teacher.encoder.cls_token.add_(1.0)
    (tmp_path / "history.csv").write_text("epoch,loss,identity\n1,3.0,0.1\n2,2.5,0.4\n")
    settings, images = {"objective": "apmask", "weights": "/home/somebody/first.pth"}, {"images": 7, "patients": 7}
    pretraining.write_result(tmp_path, encoder, network, teacher, settings, images)
    chosen = teacher if encoder == "teacher" else network
    loaded, (mean, std) = build_encoder(weights=str(tmp_path / "encoder.safetensors"), image_size=32)
    for name, value in chosen.encoder.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-3, atol=1e-3)
    assert mean == pytest.approx(network.mean.flatten().tolist())
    assert std == pytest.approx(network.std.flatten().tolist())
    with safe_open(tmp_path / "encoder.safetensors", framework="pt") as file:
        assert (file.metadata()["objective"], file.metadata()["weights"]) == ("apmask", "first.pth")
        trunk = chosen.head.trunk.state_dict(prefix="head.trunk.")
        assert trunk.keys() == {name for name in file.keys() if name.startswith("head.")}  # noqa: SIM118 - no mapping
        torch.testing.assert_close(
            file.get_tensor("head.trunk.0.weight").float(), trunk["head.trunk.0.weight"], atol=1e-3, rtol=0
        )
    document = json.loads((tmp_path / "pretraining.json").read_text())
    assert document["images"] == images
    assert document["encoder"] == encoder
    assert document["last_epoch"] == {"epoch": 2.0, "loss": 2.5, "identity": 0.4}
    with pytest.raises(ConfigError, match="encoder 'both' is unknown"):
        pretraining.write_result(tmp_path, "both", network, teacher, settings, images)


def test_a_result_without_its_history_is_refused_before_anything_is_written(
    network: DistillationNetwork, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"history.csv' of this training is missing or empty: put it back, or give"):
        pretraining.write_result(tmp_path, "teacher", network, network.teacher_copy(), {}, {"images": 1})
    assert list(tmp_path.iterdir()) == []


def test_another_training_removes_the_result_of_an_earlier_one(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("encoder.safetensors", "pretraining.json", "other.json")]
    for file in files:
        file.write_text("{}")
    engine = Engine(lambda *_: None)
    pretraining.Results(tmp_path).attach(engine)
    engine.state.max_epochs = 3
    # Everything was trained before: no epoch begins, as after a finished checkpoint.
    engine.add_event_handler(Events.STARTED, lambda: engine.terminate())
    engine.run([0], max_epochs=3)
    assert all(file.exists() for file in files)
    engine = Engine(lambda *_: None)
    pretraining.Results(tmp_path).attach(engine)
    engine.run([0], max_epochs=1)
    assert [file.exists() for file in files] == [False, False, True]


def test_warm_up_starts_at_the_papers_rate() -> None:
    optimizer = create_optimizer([{"params": [torch.nn.Parameter(torch.zeros(2))]}], "adamw", 5e-4)
    scheduler = warmup_cosine(optimizer, 10, 100, start_fraction=1e-5 / 5e-4)
    rates = []
    for _ in range(100):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(1e-5)
    assert rates[5] == pytest.approx((1e-5 + 5e-4) / 2)
    assert rates[10] == pytest.approx(5e-4)
    assert rates[55] == pytest.approx(2.5e-4)
    assert rates[99] < 1e-6
